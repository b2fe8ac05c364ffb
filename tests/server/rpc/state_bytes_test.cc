#include "server/rpc/state_bytes.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/crc32c.h"
#include "isthmus/v1/state.pb.h"
#include "server/core/coordinator.h"
#include "tests/support/coordinator_states.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

// As written, but for `change`; with a checksum that is right.
std::string Changed(const std::function<void(v1::CoordinatorState&)>& change) {
  v1::SavedState saved;
  saved.ParseFromString(EncodeState(FullState()));
  v1::CoordinatorState state;
  state.ParseFromString(saved.state());
  change(state);
  saved.set_state(state.SerializeAsString());
  saved.set_crc32c(Crc32c(std::as_bytes(std::span(saved.state().data(), saved.state().size()))));
  return saved.SerializeAsString();
}

TEST(StateBytesTest, P14_WhatIsWrittenIsRead) {
  const auto state = DecodeState(EncodeState(FullState()));
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(Difference(*state, FullState()), "");
}

TEST(StateBytesTest, P14_SoIsAStateInWhichNothingHasHappened) {
  CoordinatorConfig config;
  config.instance = 7;
  const CoordinatorState fresh = Coordinator(config).Save();
  const auto state = DecodeState(EncodeState(fresh));
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(Difference(*state, fresh), "");
}

TEST(StateBytesTest, EveryByteThatChangedAndEveryBeginningIsRefused) {
  const std::string bytes = EncodeState(FullState());
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_FALSE(DecodeState(bytes.substr(0, i)).ok()) << i;
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      const absl::Status status = DecodeState(damaged).status();
      EXPECT_FALSE(status.ok()) << "bit " << bit << " of byte " << i;
      EXPECT_THAT(std::string(status.message()), HasSubstr("saved state: "));
    }
  }
}

TEST(StateBytesTest, DamageAndAnotherVersionAreToldApart) {
  std::string bytes = EncodeState(FullState());
  bytes.back() ^= 1;
  EXPECT_EQ(DecodeState(bytes).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(DecodeState(bytes).status().message()), HasSubstr("wrong checksum"));
  EXPECT_EQ(DecodeState("no state").status().code(), absl::StatusCode::kDataLoss);
  v1::SavedState saved;
  ASSERT_TRUE(saved.ParseFromString(EncodeState(FullState())));
  saved.set_version(2);
  const absl::Status status = DecodeState(saved.SerializeAsString()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "saved state: this build reads version 1, got 2");
}

// Right bytes of what no coordinator saves; tests/server/core has the rest.
TEST(StateBytesTest, WhatCannotBeIsRefusedInWords) {
  using Change = std::function<void(v1::CoordinatorState&)>;
  const std::vector<std::pair<Change, std::string>> changes = {
      {[](auto& s) { s.mutable_run()->set_scheme("magic"); }, "magic"},
      {[](auto& s) { s.mutable_layout()->mutable_tensors(0)->set_dtype(9); }, "dtype 9"},
      {[](auto& s) { s.add_awaited(2); }, "awaited groups: expected each once, got 2 again"},
      {[](auto& s) { *s.add_audits() = s.audits(0); }, "audits: expected each once, got 3 again"},
      {[](auto& s) { *s.mutable_audits(1)->add_expected() = s.audits(1).expected(1); },
       "groups of an audit: expected each once, got 9 again"},
      {[](auto& s) { s.add_sequences(1); }, "sequences: expected one per bucket (3), got 4"},
      {[](auto& s) { *s.add_groups() = s.groups(0); }, "groups: expected ascending ids, got 2"},
      {[](auto& s) { s.set_last_sequence(19); }, "last sequence: expected 20, got 19"},
      {[](auto& s) { s.clear_instance(); }, "instance: expected non-zero, got 0"},
  };
  for (const auto& [change, words] : changes) {
    const absl::Status status = DecodeState(Changed(change)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
}

// A run may outlive the build that began it. ISTHMUS_RECORD_FRAMES=1 writes what is not recorded
// yet; what is must be read, and written, as it was, or has another version.
TEST(StateBytesTest, P28_AStateOfThisVersionIsReadAsItWasWritten) {
  const std::filesystem::path file = std::filesystem::path(ISTHMUS_RECORDED_STATES) /
                                     absl::StrCat("state_v", kStateVersion, ".txt");
  if (std::getenv("ISTHMUS_RECORD_FRAMES") != nullptr && !std::filesystem::exists(file)) {
    std::ofstream(file) << absl::BytesToHexString(EncodeState(FullState())) << "\n";
  }
  std::string hex;
  std::ifstream(file) >> hex;
  const std::string bytes = absl::HexStringToBytes(hex);
  const auto state = DecodeState(bytes);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(EncodeState(*state), bytes);
  EXPECT_EQ(state->groups.size(), FullState().groups.size());
}

}  // namespace
}  // namespace isthmus
