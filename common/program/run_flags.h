// A run spec on a command line: a flag for each field of the table (common/run/spec_fields.h), so
// that every program that takes them has the same names, bounds and words.
#ifndef ISTHMUS_COMMON_PROGRAM_RUN_FLAGS_H_
#define ISTHMUS_COMMON_PROGRAM_RUN_FLAGS_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/run/run_spec.h"

namespace CLI {
class App;
}

namespace isthmus {

// The most that --start-groups takes, and whatever else counts groups.
inline constexpr uint64_t kMaxGroups = 1 << 16;

// The fields that were given, by name, as they were written. What is not given follows from the
// scheme.
using GivenFields = std::map<std::string, std::string>;

// Adds the flags of all fields but those named in `except`; help shows flexdemo's defaults. They
// have the option defaults of `app`: where the last of a repeated flag counts, so does the last of
// --sign and --no-sign; elsewhere those exclude each other. `given` outlives the parsing.
void AddRunFlags(CLI::App* app, GivenFields* given, std::span<const std::string_view> except = {});

// Errors: INVALID_ARGUMENT, naming the choices or the field.
absl::StatusOr<RunSpec> RunSpecOf(const GivenFields& given);

// The flags that say `spec`: its scheme, and what differs from the scheme's defaults.
std::vector<std::string> RunFlags(const RunSpec& spec);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PROGRAM_RUN_FLAGS_H_
