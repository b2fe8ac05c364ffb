#include "common/program/output_file.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace isthmus {
namespace {

absl::Status Failed(const std::string& path, int error) {
  return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", std::strerror(error)));
}

// All of `text`, however little the system takes at a time. Returns errno, or 0.
int WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t taken = write(fd, text.data(), text.size());
    if (taken < 0 && errno != EINTR) return errno;
    if (taken > 0) text.remove_prefix(static_cast<size_t>(taken));
  }
  return 0;
}

int WriteAndClose(int fd, absl::string_view text) {
  const int error = WriteAll(fd, text);
  // Some file systems say only here that there was no room.
  const int closed = close(fd) == 0 || errno == EINTR ? 0 : errno;
  return error != 0 ? error : closed;
}

// A pipe or a device, which has no "beside it" to rename from.
bool IsSpecial(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode);
}

// Where `path` leads, so that a symbolic link is not replaced by what it stands for.
std::string Target(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real == nullptr ? path : std::string(real.get());
}

std::string Temporary(const std::string& target) {
  return absl::StrCat(target, ".", getpid(), ".tmp");
}

int OpenTemporary(const std::string& temporary) {
  return open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
}

}  // namespace

absl::Status WriteOutputFile(const std::string& path, absl::string_view text) {
  if (IsSpecial(path)) {
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    const int error = fd < 0 ? errno : WriteAndClose(fd, text);
    return error == 0 ? absl::OkStatus() : Failed(path, error);
  }
  const std::string target = Target(path);
  const std::string temporary = Temporary(target);
  const int fd = OpenTemporary(temporary);
  if (fd < 0) return Failed(path, errno);
  int error = WriteAndClose(fd, text);
  if (error == 0 && std::rename(temporary.c_str(), target.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  return Failed(path, error);
}

absl::Status CheckOutputFile(const std::string& path) {
  if (path.empty()) return Failed("''", ENOENT);
  if (IsSpecial(path)) {
    struct stat found {};
    // Opening a pipe would wait for its reader.
    if (stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) return Failed(path, EISDIR);
    return access(path.c_str(), W_OK) == 0 ? absl::OkStatus() : Failed(path, errno);
  }
  const std::string temporary = Temporary(Target(path));
  const int fd = OpenTemporary(temporary);
  if (fd < 0) return Failed(path, errno);
  close(fd);
  unlink(temporary.c_str());
  return absl::OkStatus();
}

}  // namespace isthmus
