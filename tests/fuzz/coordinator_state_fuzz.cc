// A coordinator's saved state: DecodeState, and the coordinator that is restored of what it takes.
//
//   input := the bytes of a v1::CoordinatorState, put into an envelope with the right checksum
//
// scripts/fuzz: -max_len=1024
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "common/base/crc32c.h"
#include "isthmus/v1/state.pb.h"
#include "server/core/coordinator.h"
#include "server/rpc/state_bytes.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/coordinator_states.h"

namespace isthmus::fuzz {
namespace {

// More buckets than a small input should make a coordinator of: it keeps some bytes of each.
constexpr size_t kMostBuckets = 1024;

// Goes on as it was, and says so in the same bytes.
void CheckRestored(CoordinatorState state) {
  CoordinatorConfig config;
  config.instance = state.instance;
  config.run = state.run;
  const absl::Time now = absl::UnixEpoch();
  absl::StatusOr<Coordinator> core = Coordinator::Restore(config, state, now);
  ISTHMUS_CHECK(core.ok());
  ++state.restarts;
  ++state.epoch;
  ISTHMUS_CHECK(EncodeState(core->Save()) == EncodeState(state));
  Actions out;
  core->Tick(now + config.reconnect_grace, out);
  ISTHMUS_CHECK(core->last_sequence() == state.last_sequence);  // nobody has said anything
}

void FuzzState(const uint8_t* data, size_t size) {
  // Protobuf would tell every name that is not UTF-8.
  [[maybe_unused]] static auto* const silenced = google::protobuf::SetLogHandler(nullptr);
  v1::SavedState saved;
  saved.set_version(kStateVersion);
  saved.set_state(std::string(reinterpret_cast<const char*>(data), size));
  saved.set_crc32c(Crc32c(std::as_bytes(std::span(data, size))));
  const absl::StatusOr<CoordinatorState> state = DecodeState(saved.SerializeAsString());
  if (!state.ok()) return CheckRefusal(state.status());
  CountAccepted();
  const std::string bytes = EncodeState(*state);
  const absl::StatusOr<CoordinatorState> again = DecodeState(bytes);
  ISTHMUS_CHECK(again.ok());
  ISTHMUS_CHECK(EncodeState(*again) == bytes);
  if (state->buckets.size() <= kMostBuckets) CheckRestored(*state);
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzState(data, size);
  return 0;
}
