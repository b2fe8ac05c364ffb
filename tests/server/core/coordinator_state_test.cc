// What a coordinator that is started again takes up, and what it refuses; the stories are
// testdata/restart*.txt.
#include "server/core/coordinator_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/support/coordinator_states.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);

CoordinatorConfig ConfigOf(const CoordinatorState& state) {
  CoordinatorConfig config;
  config.instance = state.instance;
  config.run = state.run;
  return config;
}

TEST(CoordinatorStateTest, P14_WhatIsTakenUpIsSavedAgain) {
  CoordinatorState state = FullState();
  const auto core = Coordinator::Restore(ConfigOf(state), state, kNow);
  ASSERT_TRUE(core.ok()) << core.status();
  const CoordinatorState again = core->Save();
  // Everybody's stream was lost, and that once more.
  ++state.epoch;
  ++state.restarts;
  EXPECT_EQ(Difference(again, state), "");
}

TEST(CoordinatorStateTest, P14_SoIsACoordinatorThatNobodyHasSpokenTo) {
  CoordinatorState fresh = Coordinator(CoordinatorConfig()).Save();
  ASSERT_TRUE(Check(fresh).ok()) << Check(fresh);
  const auto core = Coordinator::Restore(ConfigOf(fresh), fresh, kNow);
  ASSERT_TRUE(core.ok()) << core.status();
  ++fresh.epoch;
  ++fresh.restarts;
  EXPECT_EQ(Difference(core->Save(), fresh), "");
}

TEST(CoordinatorStateTest, P14_EverybodyIsWithinTheGracePeriod) {
  const CoordinatorState state = FullState();
  const auto core = Coordinator::Restore(ConfigOf(state), state, kNow);
  ASSERT_TRUE(core.ok()) << core.status();
  EXPECT_EQ(core->state(kNow), Coordinator::State::kTraining);
  EXPECT_EQ(core->open_round(), Round(7));
  for (const auto& [id, group] : core->membership().groups()) {
    EXPECT_FALSE(group.stream.has_value());
    EXPECT_EQ(group.stream_lost, kNow);
  }
  EXPECT_EQ(core->NextWakeup(), kNow + core->config().reconnect_grace);
}

TEST(CoordinatorStateTest, P14_AnotherInstanceIsAnotherRun) {
  CoordinatorState state = FullState();
  CoordinatorConfig config = ConfigOf(state);
  config.instance = 7;
  state.instance = 8;
  const absl::Status status = Coordinator::Restore(config, state, kNow).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "instance: the saved state is of coordinator instance 8, this one is instance 7");
}

TEST(CoordinatorStateTest, P14_EveryFieldOfTheRunThatDiffersIsNamed) {
  const CoordinatorState state = FullState();
  CoordinatorConfig config = ConfigOf(state);
  config.run.rounds = 2000;
  config.run.decay = 0.5f;
  const absl::Status status = Coordinator::Restore(config, state, kNow).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("rounds: the saved run has 1000, this coordinator is to run 2000"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("decay: the saved run has 0.999, this coordinator is to run 0.5"));
  EXPECT_THAT(std::string(status.message()), testing::Not(HasSubstr("start_groups")));
}

// What no coordinator saves, with a word that says what is wrong.
TEST(CoordinatorStateTest, WhatCannotBeIsRefusedInWords) {
  using Change = std::function<void(CoordinatorState&)>;
  const std::vector<std::pair<Change, std::string>> changes = {
      {[](auto& s) { s.instance = 0; }, "instance: expected non-zero, got 0"},
      {[](auto& s) { s.epoch = Epoch(0); }, "epoch: expected 1 or more, got 0"},
      {[](auto& s) { s.run.format.all.k = 0; }, "k"},
      {[](auto& s) { s.layout.reset(); }, "buckets: expected 0, got 3"},
      {[](auto& s) { s.layout.reset(), s.buckets.clear(); }, "layout: expected one"},
      {[](auto& s) { s.buckets.pop_back(); }, "buckets: expected 3, got 2"},
      {[](auto& s) { s.round = Round(0); }, "updates before training: expected none, got some"},
      {[](auto& s) { s.round = Round(0), s.buckets.assign(3, {}); }, "before training: expected 0"},
      {[](auto& s) { s.round = Round(1001); }, "round: expected at most 1000, got 1001"},
      {[](auto& s) { s.run.rounds = 0, s.round = Round(~uint64_t{0}); }, "that can be reached"},
      {[](auto& s) { s.buckets[0].sequence = s.buckets[2].sequence; }, "a sequence each, got 19"},
      {[](auto& s) { s.buckets[2].sequence = Sequence(18); }, "expected 19, got 18"},
      {[](auto& s) { s.buckets[0].sequence = Sequence(21); }, "expected 20, got 21"},
      {[](auto& s) { s.buckets[1].commits = 7; }, "commits of a bucket: expected at most 6, got 7"},
      {[](auto& s) { s.last_sequence = Sequence(21); }, "last sequence: expected 20, got 21"},
      {[](auto& s) { s.buckets[1].sequence = s.last_sequence = Sequence(21); }, "fewer than 3"},
      {[](auto& s) { s.counters.rounds_committed = 7; }, "rounds committed: expected 6, got 7"},
      {[](auto& s) { std::swap(s.groups[0], s.groups[1]); },
       "groups: expected ascending ids, got 2"},
      {[](auto& s) { s.groups[0].incarnation = Incarnation(0); },
       "incarnation: expected 1 or more"},
      {[](auto& s) { s.groups[0].nonce = 0; }, "group 2 nonce: expected non-zero, got 0"},
      {[](auto& s) { s.groups[0].ranks = 0; }, "group 2 ranks: expected at least 1, got 0"},
      {[](auto& s) { s.groups[0].label.assign(65, 'x'); },
       "label: expected at most 64 bytes, got 65"},
      {[](auto& s) { s.groups[0].past_nonces.pop_back(); }, "fenced processes: expected 2, got 1"},
      {[](auto& s) { s.groups[0].past_nonces[1] = s.groups[0].nonce; },
       "nonce of a fenced process"},
      {[](auto& s) { s.groups[0].left = true; }, "group 2: expected ready or gone, got both"},
      {[](auto& s) { s.groups[0].resync = Round(6); }, "in sync or to be mended, got both"},
      {[](auto& s) { s.groups[0].synced_at = Sequence(21); }, "expected at most 20, got 21"},
      {[](auto& s) { s.groups[0].agreed = Round(7); }, "audited round: expected at most 6, got 7"},
      {[](auto& s) { s.groups[2].resync = Round(9); }, "audited round: expected at most 6, got 9"},
      {[](auto& s) { s.groups[0].too_slow = Round(8); }, "too slow in round: expected at most 7"},
      {[](auto& s) { s.groups[0].source->incarnation = Incarnation(2); },
       "got group 5 incarnation 2"},
      {[](auto& s) { s.groups[0].source->group = GroupId(3); }, "got group 3 incarnation 1"},
      {[](auto& s) { s.awaited.insert(GroupId(3)); }, "awaited groups"},
      {[](auto& s) { s.awaited.insert(GroupId(5)); }, "ready and not silent, got 5"},
      {[](auto& s) { s.run.audit_rounds = 2; }, "audit of round 3: expected a multiple"},
      {[](auto& s) { s.audits[Round(9)] = {}; }, "at most 6, got 9"},
      {[](auto& s) { s.audits[Round(3)].sequence = Sequence(8); }, "sequence: expected 9, got 8"},
      {[](auto& s) { s.audits[Round(3)].right.pop_back(); }, "hashes: expected 3, got 2"},
      {[](auto& s) {
         s.audits[Round(6)].right = {1, 2, 3};
       },
       "hashes: expected 0, got 3"},
      {[](auto& s) { s.audits[Round(6)].expected[GroupId(9)] = Incarnation(2); }, "incarnation 2"},
  };
  ASSERT_TRUE(Check(FullState()).ok()) << Check(FullState());
  for (const auto& [change, words] : changes) {
    CoordinatorState state = FullState();
    change(state);
    const absl::Status status = Check(state);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_EQ(Coordinator::Restore(ConfigOf(state), state, kNow).status(), status);
  }
}

TEST(CoordinatorStateTest, MoreAuditsThanAreRemembered) {
  CoordinatorState state = FullState();
  state.run.audit_rounds = 1;
  for (uint64_t round = 2; round <= 6; ++round) {
    state.audits[Round(round)] = {.sequence = Sequence(3 * round)};
  }
  EXPECT_THAT(std::string(Check(state).message()), HasSubstr("audits: expected at most 4, got 5"));
}

TEST(CoordinatorStateTest, MayHaveEndedWithItsLastRound) {
  CoordinatorState state = FullState();
  state.run.rounds = 7;
  state.buckets[1].sequence = state.last_sequence = Sequence(21);
  state.counters.rounds_committed = 7;
  const auto core = Coordinator::Restore(ConfigOf(state), state, kNow);
  ASSERT_TRUE(core.ok()) << core.status();
  EXPECT_EQ(core->state(kNow), Coordinator::State::kEnded);
}

}  // namespace
}  // namespace isthmus
