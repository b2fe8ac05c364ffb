// A coordinator's saved state in bytes, to be kept where it outlives the process.
#ifndef ISTHMUS_SERVER_RPC_STATE_BYTES_H_
#define ISTHMUS_SERVER_RPC_STATE_BYTES_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "server/core/coordinator_state.h"

namespace isthmus {

// Of what EncodeState() writes, and all that DecodeState() reads.
inline constexpr uint32_t kStateVersion = 1;

// A v1.SavedState. The same state is the same bytes.
std::string EncodeState(const CoordinatorState& state);

// Errors: FAILED_PRECONDITION for another version; DATA_LOSS for bytes that are not those written;
// INVALID_ARGUMENT for a state that no coordinator saves (Check()).
absl::StatusOr<CoordinatorState> DecodeState(const std::string& bytes);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_STATE_BYTES_H_
