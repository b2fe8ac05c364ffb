// Files that programs write for others to read.
#ifndef ISTHMUS_COMMON_PROGRAM_OUTPUT_FILE_H_
#define ISTHMUS_COMMON_PROGRAM_OUTPUT_FILE_H_

#include <absl/status/status.h>
#include <absl/strings/string_view.h>

#include <string>

namespace isthmus {

// Puts `text` at `path`, whole or not at all: it is written beside it and renamed into place, so
// that a script that waits for the file never reads half of it, and a full disk leaves the former
// one. What is not a regular file (a pipe, /dev/stdout) is written to directly; a symbolic link
// stays one. Blocks. UNAVAILABLE, naming the path and the system's reason, if any byte was not
// taken.
absl::Status WriteOutputFile(const std::string& path, absl::string_view text);

// Whether WriteOutputFile could begin: for who learns after hours what to write. Leaves nothing
// behind. UNAVAILABLE as above.
absl::Status CheckOutputFile(const std::string& path);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PROGRAM_OUTPUT_FILE_H_
