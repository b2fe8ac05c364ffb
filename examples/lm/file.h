// Whole files, read within a bound and written so that a reader never sees half of one.
#ifndef ISTHMUS_EXAMPLES_LM_FILE_H_
#define ISTHMUS_EXAMPLES_LM_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace isthmus::lm {

// NOT_FOUND where it cannot be read, RESOURCE_EXHAUSTED where it is longer than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

// Writes PATH.tmp and renames it to PATH. A symbolic link stays one, and what is no regular file (a
// pipe, /dev/stdout) is written to directly. UNKNOWN where the disk refuses.
absl::Status WriteFile(const std::string& path, std::string_view contents);

// Whether WriteFile() could begin, before hours are spent on what to write. UNKNOWN as above.
absl::Status CheckWritable(const std::string& path);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_FILE_H_
