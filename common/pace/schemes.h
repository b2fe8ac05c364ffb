// The schemes that docs/schemes.md has figures for.
#ifndef ISTHMUS_COMMON_PACE_SCHEMES_H_
#define ISTHMUS_COMMON_PACE_SCHEMES_H_

#include <string>
#include <vector>

#include "common/run/run_spec.h"

namespace isthmus {

// What a run may be, and how many steps it needs to the loss that a job with AdamW reaches in one
// where every gradient is averaged in full. Measured on one small model: an order of magnitude for
// others.
struct KnownScheme {
  std::string name;  // for people
  RunSpec run;
  double steps = 1;
};

// In no order.
std::vector<KnownScheme> KnownSchemes();

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PACE_SCHEMES_H_
