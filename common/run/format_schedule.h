// Formats of rounds that are known beforehand, as a file says them: a line for each change, the
// round from which on it holds and what is other than before, in the words of flags:
//
//   # seven rounds of a run that begins with every=8
//   3   every=16 overlap=8
//   8   every=8 overlap=4
#ifndef ISTHMUS_COMMON_RUN_FORMAT_SCHEDULE_H_
#define ISTHMUS_COMMON_RUN_FORMAT_SCHEDULE_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <vector>

#include "common/run/round_format.h"
#include "common/run/run_spec.h"

namespace isthmus {

// Of `run`, as Validate() accepts it. Errors: INVALID_ARGUMENT naming the line, what was expected
// and what it says: rounds ascend, from the first that an update can speak of (P30); each format
// can follow the one before; at most 100,000 lines.
absl::StatusOr<std::vector<FormatChange>> ParseFormatSchedule(absl::string_view text,
                                                              const RunSpec& run);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_FORMAT_SCHEDULE_H_
