#include "common/base/memory_limit.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/strings/string_view.h>
#include <absl/strings/strip.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "common/base/memory_cgroups.h"

namespace isthmus {
namespace {

// Version 1 writes "none" as the largest multiple of a page.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;

std::vector<absl::string_view> Words(absl::string_view line) {
  return absl::StrSplit(line, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

// The number after `key` at the beginning of a line, times 1024 if "kB" follows it.
std::optional<uint64_t> Field(const std::optional<std::string>& text, absl::string_view key) {
  if (!text) return std::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    if (line.empty() || (line[0] != ' ' && line[0] != '\t')) continue;  // a longer key
    const std::vector<absl::string_view> words = Words(line);
    uint64_t value = 0;
    if (words.empty() || !absl::SimpleAtoi(words[0], &value)) return std::nullopt;
    return words.size() > 1 && words[1] == "kB" ? value * 1024 : value;
  }
  return std::nullopt;
}

// A file that holds one number; "max" and what is no number are nothing.
std::optional<uint64_t> Number(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  const std::vector<absl::string_view> words = Words(*text);
  uint64_t value = 0;
  if (words.size() != 1 || !absl::SimpleAtoi(words[0], &value)) return std::nullopt;
  return value;
}

uint64_t Minus(uint64_t from, uint64_t bytes) { return from > bytes ? from - bytes : 0; }

// Anonymous and shared memory of this process, as the kernel counts it.
struct Own {
  uint64_t anonymous = 0;
  uint64_t shared = 0;
};

void AddCgroup(const CgroupFolders& cgroup, const FileReader& read, const Own& own,
               std::vector<MemoryLimit>& limits) {
  const bool unified = cgroup.unified;
  const char* const prefix = unified ? "" : "total_";  // with the cgroups below it
  uint64_t smallest = kNoLimit;
  const auto add = [&](const std::string& folder, uint64_t limit, uint64_t others) {
    smallest = std::min(smallest, limit);
    const std::string name = folder.substr(cgroup.mount.size());
    limits.push_back({absl::StrCat("memory cgroup ", name.empty() ? "/" : name),
                      MemoryScope::kPhysical, limit, others});
  };
  for (const std::string& folder : cgroup.folders) {
    const auto file = [&](const char* name) { return read(absl::StrCat(folder, "/", name)); };
    const auto limit = Number(file(unified ? "memory.max" : "memory.limit_in_bytes"));
    if (!limit || *limit >= kNoLimit) continue;
    const auto stat = file("memory.stat");
    uint64_t used = Number(file(unified ? "memory.current" : "memory.usage_in_bytes")).value_or(0);
    for (const char* cache : {"inactive_file", "active_file"}) {
      used = Minus(used, Field(stat, absl::StrCat(prefix, cache)).value_or(0));
    }
    if (unified) used = Minus(used, Field(stat, "slab_reclaimable").value_or(0));
    add(folder, *limit, Minus(used, own.anonymous + own.shared));
  }
  if (unified) return;
  // Version 1 also tells of bounds above what a container sees, but not how much of them is used.
  const auto above =
      Field(read(absl::StrCat(cgroup.folders[0], "/memory.stat")), "hierarchical_memory_limit");
  if (above && *above < smallest) add(cgroup.mount + "/.. (above it)", *above, 0);
}

// /proc/self/limits: a table with the soft limit behind the name.
std::optional<uint64_t> SoftLimit(const std::optional<std::string>& text, absl::string_view name) {
  return Field(text, name);  // "unlimited" is no number
}

uint64_t PartOf(const MemoryNeed& need, MemoryScope scope) {
  switch (scope) {
    case MemoryScope::kPrivate:
      return need.private_bytes;
    case MemoryScope::kOneFile:
      return need.largest_shared_bytes;
    case MemoryScope::kPhysical:
    case MemoryScope::kAddressSpace:
      return need.private_bytes + need.shared_bytes;
  }
  return 0;
}

}  // namespace

std::vector<MemoryLimit> ReadMemoryLimits(const FileReader& read) {
  const auto status = read("/proc/self/status");
  const Own own{Field(status, "RssAnon:").value_or(0), Field(status, "RssShmem:").value_or(0)};
  std::vector<MemoryLimit> limits;

  const auto machine = read("/proc/meminfo");
  if (const auto total = Field(machine, "MemTotal:")) {
    const uint64_t used = Minus(*total, Field(machine, "MemAvailable:").value_or(*total));
    limits.push_back(
        {"the machine", MemoryScope::kPhysical, *total, Minus(used, own.anonymous + own.shared)});
  }
  for (const CgroupFolders& cgroup : FindMemoryCgroups(read("/proc/self/cgroup").value_or(""),
                                                       read("/proc/self/mountinfo").value_or(""))) {
    AddCgroup(cgroup, read, own, limits);
  }

  const auto ulimits = read("/proc/self/limits");
  if (const auto limit = SoftLimit(ulimits, "Max address space")) {
    const uint64_t mapped = Field(status, "VmSize:").value_or(0);
    limits.push_back({"ulimit -v (address space)", MemoryScope::kAddressSpace, *limit,
                      Minus(mapped, own.anonymous + own.shared)});
  }
  if (const auto limit = SoftLimit(ulimits, "Max data size")) {
    const uint64_t data = Field(status, "VmData:").value_or(0);
    limits.push_back(
        {"ulimit -d (data)", MemoryScope::kPrivate, *limit, Minus(data, own.anonymous)});
  }
  // A memfd is a file: growing one beyond this kills with SIGXFSZ.
  if (const auto limit = SoftLimit(ulimits, "Max file size")) {
    limits.push_back({"ulimit -f (file size)", MemoryScope::kOneFile, *limit, 0});
  }
  return limits;
}

absl::Status CheckMemory(const std::string& what, const std::string& parts, const MemoryNeed& need,
                         std::span<const MemoryLimit> limits) {
  const MemoryLimit* worst = nullptr;
  uint64_t worst_lack = 0;
  for (const MemoryLimit& limit : limits) {
    const uint64_t lack =
        Minus(PartOf(need, limit.scope), Minus(limit.limit_bytes, limit.others_bytes));
    if (lack <= worst_lack) continue;
    worst = &limit;
    worst_lack = lack;
  }
  if (worst == nullptr) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      what, " needs ", PartOf(need, worst->scope), " bytes of memory",
      parts.empty() ? "" : absl::StrCat(" (", parts, ")"), "; ", worst->name, " allows ",
      worst->limit_bytes,
      worst->others_bytes == 0 ? "" : absl::StrCat(", of which others use ", worst->others_bytes)));
}

std::optional<std::string> ReadWholeFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) return std::nullopt;
  return text;
}

}  // namespace isthmus
