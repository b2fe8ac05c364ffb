#include "common/program/input_file.h"

#include <absl/strings/str_cat.h>

#include <fstream>

namespace isthmus {

absl::StatusOr<std::string> ReadInputFile(const std::string& flag, const std::string& path,
                                          const std::string& expected) {
  std::ifstream file(path);
  std::string text(kMostInputBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || file.gcount() == 0) {
    return absl::NotFoundError(absl::StrCat(flag, ": expected ", expected, ", got '", path, "'"));
  }
  if (static_cast<size_t>(file.gcount()) > kMostInputBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": ", path, ": expected at most ", kMostInputBytes, " bytes"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

}  // namespace isthmus
