#include "common/kernels/simd.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <cstdlib>

#include "common/base/check.h"

namespace isthmus {
namespace {

std::vector<const TileKernels*> Detect() {
  std::vector<const TileKernels*> kernels = {&kScalarKernels, &kVector128Kernels};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool bmi2 = __builtin_cpu_supports("bmi2");
  if (bmi2 && __builtin_cpu_supports("avx2")) kernels.push_back(&kAvx2Kernels);
  if (bmi2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    kernels.push_back(&kAvx512Kernels);
  }
#endif
  return kernels;
}

absl::StatusOr<const TileKernels*> Chosen() {
  const char* name = std::getenv("ISTHMUS_SIMD");
  if (name == nullptr || *name == '\0') return AvailableKernels().back();
  absl::StatusOr<const TileKernels*> kernels = KernelsNamed(name);
  if (kernels.ok()) return kernels;
  return absl::InvalidArgumentError(
      absl::StrCat("ISTHMUS_SIMD: ", std::string(kernels.status().message())));
}

}  // namespace

const std::vector<const TileKernels*>& AvailableKernels() {
  static const std::vector<const TileKernels*> kernels = Detect();
  return kernels;
}

absl::StatusOr<const TileKernels*> KernelsNamed(const std::string& name) {
  for (const TileKernels* kernels : AvailableKernels()) {
    if (name == kernels->name) return kernels;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "expected an instruction set of this machine (",
      absl::StrJoin(AvailableKernels(), ", ",
                    [](std::string* out, const TileKernels* k) { absl::StrAppend(out, k->name); }),
      "), got '", name, "'"));
}

absl::Status CheckSimdChoice() { return Chosen().status(); }

const TileKernels& ActiveKernels() {
  static const TileKernels* const kernels = [] {
    const absl::StatusOr<const TileKernels*> chosen = Chosen();
    ISTHMUS_CHECK(chosen.ok());
    return *chosen;
  }();
  return *kernels;
}

}  // namespace isthmus
