// How much memory this process may have, and who says so: the machine, a memory cgroup (a
// container, a pod, a systemd unit), `ulimit`. Memory is handed out on paper and missed only when
// it is touched, by a kill; so whoever is about to take much asks before.
//
// The policy. A bound leaves what others have not taken of it. Others is everything but this
// process's own anonymous and shared memory: who asks says what the process will hold in all, so
// that what it holds already, or will replace, is not counted twice. Page cache counts as free, as
// the kernel drops it before it kills; swap counts as nothing, since state that every round touches
// is of no use there. What others will take later is unknown: a job in the same container needs its
// own room beside this.
#ifndef ISTHMUS_COMMON_BASE_MEMORY_LIMIT_H_
#define ISTHMUS_COMMON_BASE_MEMORY_LIMIT_H_

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace isthmus {

// What a process will hold in all.
struct MemoryNeed {
  uint64_t private_bytes = 0;         // anonymous: heap and stacks
  uint64_t shared_bytes = 0;          // memfds, mapped here
  uint64_t largest_shared_bytes = 0;  // of one of them
};

// What a limit counts.
enum class MemoryScope : uint8_t { kPhysical, kAddressSpace, kPrivate, kOneFile };

struct MemoryLimit {
  std::string name;  // who sets it: "the machine", "memory cgroup /kubepods/pod1/c2"
  MemoryScope scope = MemoryScope::kPhysical;
  uint64_t limit_bytes = 0;
  uint64_t others_bytes = 0;  // taken of it by others than this process

  friend bool operator==(const MemoryLimit&, const MemoryLimit&) = default;
};

// OK, or RESOURCE_EXHAUSTED for the limit that leaves the least beyond its part of `need`: "needs N
// bytes (`parts`), NAME allows L, of which others use O". `what` begins the sentence.
absl::Status CheckMemory(const std::string& what, const std::string& parts, const MemoryNeed& need,
                         std::span<const MemoryLimit> limits);

// The contents of a file, or nothing.
using FileReader = std::function<std::optional<std::string>(const std::string& path)>;
std::optional<std::string> ReadWholeFile(const std::string& path);

// All that hold for this process now. Reads /proc and the cgroups' files; what is not there or is
// not understood sets no limit. Thread-safe, takes well under a millisecond.
std::vector<MemoryLimit> ReadMemoryLimits(const FileReader& read = ReadWholeFile);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_MEMORY_LIMIT_H_
