#include "examples/lm/file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace isthmus::lm {

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  if (size > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, " has ", size, " bytes, expected at most ", max_bytes));
  }
  std::ifstream file(path, std::ios::binary);
  std::string contents(size, '\0');
  if (!file.read(contents.data(), static_cast<std::streamsize>(size))) {
    return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  return contents;
}

namespace {

// Where the bytes of `path` go first, and to which name from there.
struct Places {
  std::string first;
  std::string last;
  bool renames() const { return first != last; }
};

Places PlacesOf(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::weakly_canonical(path, error);
  const std::string last = error ? path : target.string();
  const bool is_special =
      std::filesystem::exists(last, error) && !std::filesystem::is_regular_file(last, error);
  return {is_special ? last : last + ".tmp", last};
}

absl::Status CannotWrite(const std::string& path, int error) {
  return absl::UnknownError(absl::StrCat("cannot write ", path, ": ", std::strerror(error)));
}

}  // namespace

absl::Status WriteFile(const std::string& path, std::string_view contents) {
  const Places places = PlacesOf(path);
  std::ofstream file(places.first, std::ios::binary | std::ios::trunc);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  const bool failed =
      !file || (places.renames() && std::rename(places.first.c_str(), places.last.c_str()) != 0);
  if (!failed) return absl::OkStatus();
  const int error = errno;
  if (places.renames()) std::remove(places.first.c_str());
  return CannotWrite(path, error);
}

absl::Status CheckWritable(const std::string& path) {
  const Places places = PlacesOf(path);
  if (std::filesystem::is_directory(places.last)) return CannotWrite(path, EISDIR);
  // What is renamed into place takes a file beside it.
  const std::string folder = std::filesystem::path(places.last).parent_path().string();
  const bool can = places.renames() ? ::access(folder.c_str(), W_OK | X_OK) == 0
                                    : ::access(places.last.c_str(), W_OK) == 0;
  return can ? absl::OkStatus() : CannotWrite(path, errno);
}

}  // namespace isthmus::lm
