#include "worker/jobs/socket_access.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <errno.h>
#include <grp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr size_t kMaxGroupEntryBytes = size_t{1} << 20;

absl::StatusOr<mode_t> ParseMode(const std::string& text) {
  const bool octal =
      text.size() <= 5 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '7'; });
  const unsigned long mode = octal ? std::stoul(text, nullptr, 8) : 0;
  if ((mode & 0600) == 0600 && mode <= 0777) return static_cast<mode_t>(mode);
  return absl::InvalidArgumentError(
      absl::StrCat("socket mode: expected octal digits from 0600 to 0777 that let the daemon's own "
                   "user read and write, such as 0660; got '",
                   text, "'"));
}

absl::StatusOr<gid_t> FindGroup(const std::string& name) {
  uint32_t number = 0;
  if (absl::SimpleAtoi(name, &number)) return static_cast<gid_t>(number);
  std::vector<char> buffer(1024);
  group entry = {};
  group* found = nullptr;
  int error = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  while (error == ERANGE && buffer.size() < kMaxGroupEntryBytes) {  // a group of many members
    buffer.resize(2 * buffer.size());
    error = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  }
  if (found != nullptr) return entry.gr_gid;
  return absl::NotFoundError(
      absl::StrCat("socket group: expected the name of a group, or its number, got '", name, "'"));
}

}  // namespace

absl::StatusOr<SocketAccess> ParseSocketAccess(const std::string& mode, const std::string& group) {
  SocketAccess access;
  if (!group.empty()) {
    ISTHMUS_ASSIGN_OR_RETURN(access.group, FindGroup(group));
    access.mode = 0660;
  }
  if (!mode.empty()) {
    ISTHMUS_ASSIGN_OR_RETURN(access.mode, ParseMode(mode));
  }
  return access;
}

}  // namespace isthmus
