// Saved states of coordinators, for tests of what is saved, written and taken up again.
#ifndef ISTHMUS_TESTS_SUPPORT_COORDINATOR_STATES_H_
#define ISTHMUS_TESTS_SUPPORT_COORDINATOR_STATES_H_

#include <cmath>
#include <string>

#include "server/core/coordinator_state.h"

namespace isthmus {

// In mid-round, and with no two fields of a kind alike: who forgets or mixes up one is found out.
inline CoordinatorState FullState() {
  CoordinatorState state;
  state.instance = 0xfedcba9876543210;
  state.restarts = 3;
  state.run.bucket_length = kUnitLength;
  state.run.rounds = 1000;
  state.run.start_groups = 2;
  state.run.initial_donor = GroupId(5);
  state.run.audit_rounds = 3;
  state.run.format.own[GroupId(2)] = {.k = 1, .values = ValueFormat::kOneBit};
  state.layout = *Layout::Create(
      {{"w", {2, kUnitLength}, DType::kFloat32, 0}, {"b", {64}, DType::kBFloat16, 1}},
      {{"mask", 100}});
  state.epoch = Epoch(77);
  state.groups.reserve(4);  // so that those below stay where they are
  GroupRecord& second = state.groups.emplace_back();
  second.id = GroupId(2);
  second.incarnation = Incarnation(3);
  second.nonce = 0xffffffffffffffff;
  second.past_nonces = {21, 0x8000000000000000};
  second.label = "site two";
  second.ranks = 4;
  second.last_change = 0x4000000000000001;
  second.ready = second.in_sync = true;
  second.synced_at = Sequence(9);
  second.source = Member{GroupId(5), Incarnation(1)};
  second.agreed = Round(3);
  second.too_slow = Round(5);
  second.contributions_merged = 17;
  second.contributions_late = 2;
  second.last_loss = 2.5f;
  second.version = 4;
  GroupRecord& fifth = state.groups.emplace_back();
  fifth.id = GroupId(5);
  fifth.incarnation = Incarnation(1);
  fifth.nonce = 51;
  fifth.ranks = 1;
  fifth.ready = fifth.in_sync = fifth.silent = true;
  GroupRecord& ninth = state.groups.emplace_back(fifth);
  ninth.id = GroupId(9);
  ninth.nonce = 91;
  ninth.in_sync = ninth.silent = false;
  ninth.resync = Round(6);
  GroupRecord& gone = state.groups.emplace_back(fifth);
  gone.id = GroupId(0xffffffff);
  gone.ready = gone.silent = false;
  gone.left = true;
  state.round = Round(7);
  state.awaited = {GroupId(2)};
  state.last_sequence = Sequence(20);
  state.buckets = {{7, Sequence(20)}, {4, std::nullopt}, {6, Sequence(19)}};
  state.audits[Round(3)] = {.sequence = Sequence(9),
                            .decided = true,
                            .right = {31, 32, 0xf000000000000033},
                            .compared = true};
  state.audits[Round(6)] = {
      .sequence = Sequence(18),
      .expected = {{GroupId(2), Incarnation(2)}, {GroupId(9), Incarnation(1)}}};
  static_assert(sizeof(CoordinatorCounters) == 13 * sizeof(uint64_t), "each has a number here");
  state.counters = {6, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112};
  state.last_loss = 1.25f;
  state.totals = {2000, 64001};
  FormatChange change{state.round, state.run.format};
  state.formats.push_back(change);
  change.from = state.round.next();
  change.format.all.k = 1;
  state.formats.push_back(change);
  return state;
}

// Names what the two do not have in common; empty if they are the same.
inline std::string Difference(const CoordinatorState& a, const CoordinatorState& b) {
  std::string names;
  const auto compare = [&](const char* name, bool same) {
    if (!same) names += std::string(names.empty() ? "" : ", ") + name;
  };
  compare("instance", a.instance == b.instance);
  compare("restarts", a.restarts == b.restarts);
  compare("run", a.run == b.run);
  compare("layout", a.layout.has_value() == b.layout.has_value() &&
                        (!a.layout || (a.layout->tensors() == b.layout->tensors() &&
                                       a.layout->constants() == b.layout->constants())));
  compare("epoch", a.epoch == b.epoch);
  compare("groups", a.groups == b.groups);
  compare("round", a.round == b.round);
  compare("awaited", a.awaited == b.awaited);
  compare("last_sequence", a.last_sequence == b.last_sequence);
  compare("buckets", a.buckets == b.buckets);
  compare("audits", a.audits == b.audits);
  compare("counters", a.counters == b.counters);
  compare("last_loss",
          a.last_loss == b.last_loss || (std::isnan(a.last_loss) && std::isnan(b.last_loss)));
  compare("totals", a.totals == b.totals);
  compare("formats", a.formats == b.formats);
  return names;
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_SUPPORT_COORDINATOR_STATES_H_
