// Which instruction set the kernels run on: the widest that this processor has, unless the
// environment variable ISTHMUS_SIMD names another. The choice changes speed, never a bit.
#ifndef ISTHMUS_COMMON_KERNELS_SIMD_H_
#define ISTHMUS_COMMON_KERNELS_SIMD_H_

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "common/kernels/tile_kernels.h"

namespace isthmus {

// All that this processor can run, plain floats ("scalar") first, the fastest last.
const std::vector<const TileKernels*>& AvailableKernels();

// The kernels called `name`. Errors: INVALID_ARGUMENT naming those that there are.
absl::StatusOr<const TileKernels*> KernelsNamed(const std::string& name);

// OK if ISTHMUS_SIMD is unset, empty or one of the available; else KernelsNamed's error. For
// programs to ask at start.
absl::Status CheckSimdChoice();

// The kernels in use, decided at the first call. CHECKs CheckSimdChoice(). Thread-safe.
const TileKernels& ActiveKernels();

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_KERNELS_SIMD_H_
