#include "common/base/memory_cgroups.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/string_view.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace isthmus {
namespace {

// mountinfo writes blanks, tabs, line ends and backslashes as \ooo.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

bool Lists(absl::string_view comma_separated, absl::string_view word) {
  const std::vector<absl::string_view> words = absl::StrSplit(comma_separated, ',');
  return std::ranges::find(words, word) != words.end();
}

// The process's cgroup in the hierarchy that counts memory: of version 2, or of version 1.
std::optional<std::string> CgroupOf(const std::string& cgroup, bool unified) {
  for (const absl::string_view line : absl::StrSplit(cgroup, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || !absl::StartsWith(parts[2], "/")) continue;
    if (unified ? parts[0] == "0" && parts[1].empty() : Lists(parts[1], "memory")) {
      return std::string(parts[2]);
    }
  }
  return std::nullopt;
}

// What of `path` lies below `root`, without the slash in front. A path outside the mount, as a
// container sees it that was moved, is the mount itself: nearer one cannot get.
std::string Below(const std::string& root, const std::string& path) {
  if (absl::StrContains(path, "..")) return "";
  if (root == "/") return path.substr(1);
  if (absl::StartsWith(path, absl::StrCat(root, "/"))) return path.substr(root.size() + 1);
  return "";
}

std::optional<CgroupFolders> FoldersOf(const std::string& cgroup, absl::string_view mount_line) {
  // id parent device root mount-point options [optional]* - type source super-options
  const std::vector<absl::string_view> words =
      absl::StrSplit(mount_line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  const auto dash = std::ranges::find(words, "-");
  if (words.size() < 6 || words.end() - dash < 4) return std::nullopt;
  const bool unified = dash[1] == "cgroup2";
  if (!unified && (dash[1] != "cgroup" || !Lists(dash[3], "memory"))) return std::nullopt;
  const std::optional<std::string> path = CgroupOf(cgroup, unified);
  if (!path) return std::nullopt;
  CgroupFolders found{unified, {}, Unescape(words[4])};
  std::string below = Below(Unescape(words[3]), *path);
  while (!below.empty()) {
    found.folders.push_back(absl::StrCat(found.mount, "/", below));
    const size_t slash = below.rfind('/');
    below.resize(slash == std::string::npos ? 0 : slash);
  }
  found.folders.push_back(found.mount);
  return found;
}

}  // namespace

std::vector<CgroupFolders> FindMemoryCgroups(const std::string& cgroup,
                                             const std::string& mountinfo) {
  std::vector<CgroupFolders> found;
  for (const absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    if (std::optional<CgroupFolders> folders = FoldersOf(cgroup, line)) {
      found.push_back(*std::move(folders));
    }
  }
  return found;
}

}  // namespace isthmus
