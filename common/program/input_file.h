// Files that a user names to a program, read whole.
#ifndef ISTHMUS_COMMON_PROGRAM_INPUT_FILE_H_
#define ISTHMUS_COMMON_PROGRAM_INPUT_FILE_H_

#include <absl/status/statusor.h>

#include <string>

namespace isthmus {

inline constexpr size_t kMostInputBytes = 16 << 20;

// What the file at `path` holds. Errors name `flag`, which has brought the path: NOT_FOUND for what
// cannot be read or is empty, saying what `expected` is; INVALID_ARGUMENT beyond kMostInputBytes.
absl::StatusOr<std::string> ReadInputFile(const std::string& flag, const std::string& path,
                                          const std::string& expected);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PROGRAM_INPUT_FILE_H_
