// What a model learns with which scheme: what docs/schemes.md has figures for, or a file.
#ifndef ISTHMUS_COMMON_PACE_SCHEMES_H_
#define ISTHMUS_COMMON_PACE_SCHEMES_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <string>
#include <vector>

#include "common/run/run_spec.h"

namespace isthmus {

// What a run may be, and how many steps it needs to the loss that a job with AdamW reaches in one
// where every gradient is averaged in full.
struct KnownScheme {
  std::string name;  // for people
  RunSpec run;
  double steps = 1;
};

// Measured on one small model: an order of magnitude for others. In no order.
std::vector<KnownScheme> KnownSchemes();

// The same as a file says them, measured on one's own model. A line for each: steps, a scheme, and
// what is other than its defaults, in the words of flags:
//
//   # steps to 2.4, over those of full averaging
//   1.00 full
//   1.17 flexdemo k=2
//   1.37 flexdemo chunk_size=128 k=1
//   0.61 local every=8
//
// Errors: INVALID_ARGUMENT naming the line, what was expected and what it says: steps are from 0.01
// to 1000, runs are as Validate() accepts them; at least one line, and 32 at most.
absl::StatusOr<std::vector<KnownScheme>> ParseSchemes(absl::string_view text);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PACE_SCHEMES_H_
