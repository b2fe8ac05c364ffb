// Files that a user names to a program, read whole.
#ifndef ISTHMUS_COMMON_PROGRAM_INPUT_FILE_H_
#define ISTHMUS_COMMON_PROGRAM_INPUT_FILE_H_

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <string>

namespace isthmus {

inline constexpr size_t kMostInputBytes = 16 << 20;

// What the file at `path` holds. Errors name `flag`, which has brought the path: NOT_FOUND for what
// cannot be read or is empty, saying what `expected` is; INVALID_ARGUMENT beyond kMostInputBytes.
absl::StatusOr<std::string> ReadInputFile(const std::string& flag, const std::string& path,
                                          const std::string& expected);

// What `parse`, a function of text to absl::StatusOr, makes of it. Its errors come to name flag and
// path.
template <typename Parse>
auto ParseInputFile(const std::string& flag, const std::string& path, const std::string& expected,
                    Parse parse) -> decltype(parse(absl::string_view())) {
  const absl::StatusOr<std::string> text = ReadInputFile(flag, path, expected);
  if (!text.ok()) return text.status();
  auto parsed = parse(*text);
  if (parsed.ok()) return parsed;
  return absl::Status(parsed.status().code(),
                      absl::StrCat(flag, ": ", path, ": ", std::string(parsed.status().message())));
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PROGRAM_INPUT_FILE_H_
