// The coordinator's state as it is kept beside the log: in bytes where the build has messages.
#ifndef ISTHMUS_TESTS_SIM_KEPT_STATE_H_
#define ISTHMUS_TESTS_SIM_KEPT_STATE_H_

#include <absl/status/statusor.h>

#include "server/core/coordinator_state.h"
#ifdef ISTHMUS_SIM_BYTES
#include <string>

#include "server/rpc/state_bytes.h"
#endif

namespace isthmus::sim {

#ifdef ISTHMUS_SIM_BYTES
using KeptState = std::string;
inline KeptState Written(const CoordinatorState& state) { return EncodeState(state); }
inline absl::StatusOr<CoordinatorState> Read(const KeptState& kept) { return DecodeState(kept); }
#else
using KeptState = CoordinatorState;
inline KeptState Written(const CoordinatorState& state) { return state; }
inline absl::StatusOr<CoordinatorState> Read(const KeptState& kept) { return kept; }
#endif

}  // namespace isthmus::sim

#endif  // ISTHMUS_TESTS_SIM_KEPT_STATE_H_
