#include "common/pace/schemes.h"

#include <absl/strings/str_cat.h>

namespace isthmus {
namespace {

// Of docs/schemes.md: steps to a loss of 2.4, two sites of two ranks, whose gradients are averaged
// in the site; of `random`, which does not come so far, to 2.5, and of full averaging there; of
// longer chunks as many more than of 1 of 64 as they need to 2.5.
constexpr double kFull = 147, kFullTo25 = 116;

KnownScheme FlexDemo(uint32_t chunk_size, uint32_t k, double steps) {
  RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
  run.format.chunk_size = chunk_size;
  run.format.all.k = k;
  return {absl::StrCat("flexdemo, ", k, " of ", run.format.chunk_size, ", 1bit"), run,
          steps / kFull};
}

KnownScheme Local(uint32_t every, double steps) {
  RunSpec run = DefaultRunSpec(Scheme::kLocal);
  run.format.every = {.steps = every};
  return {absl::StrCat("local, Muon, every ", every, ", 2bit"), run, steps / kFull};
}

}  // namespace

std::vector<KnownScheme> KnownSchemes() {
  return {
      {"full, AdamW, f32", DefaultRunSpec(Scheme::kFull), 1.0},
      FlexDemo(64, 4, 191),
      FlexDemo(64, 2, 172),
      FlexDemo(64, 1, 182),
      FlexDemo(128, 1, 201),
      FlexDemo(256, 1, 277),
      {"random, 8 of 64, sign", DefaultRunSpec(Scheme::kRandom), 199 / kFullTo25},
      Local(4, 85),
      Local(8, 90),
      Local(30, 113),
  };
}

}  // namespace isthmus
