// Texts as kernels write them, and what follows from them.
#include "common/base/memory_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "common/base/memory_cgroups.h"

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = uint64_t{1} << 20;

using Files = std::map<std::string, std::string>;

FileReader Reading(const Files& files) {
  return [files](const std::string& path) -> std::optional<std::string> {
    const auto file = files.find(path);
    if (file == files.end()) return std::nullopt;
    return file->second;
  };
}

MemoryLimit Physical(const std::string& name, uint64_t limit, uint64_t others = 0) {
  return {name, MemoryScope::kPhysical, limit, others};
}

// 1 MiB anonymous and 2 MiB shared are this process's own.
constexpr char kStatus[] =
    "Name:\tisthmus-worker\nVmSize:\t  102400 kB\nRssAnon:\t    1024 kB\nRssFile:\t   9000 kB\n"
    "RssShmem:\t    2048 kB\nVmData:\t   51200 kB\n";
constexpr char kV2Mount[] =
    "24 30 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n"
    "31 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw\n";
constexpr char kV1Mounts[] =
    "33 32 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 32 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 32 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

TEST(FindMemoryCgroupsTest, FromTheProcessUpToTheMount) {
  const auto found = FindMemoryCgroups("0::/kubepods.slice/pod1/c2\n", kV2Mount);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].unified);
  EXPECT_THAT(found[0].folders, ElementsAre("/sys/fs/cgroup/kubepods.slice/pod1/c2",
                                            "/sys/fs/cgroup/kubepods.slice/pod1",
                                            "/sys/fs/cgroup/kubepods.slice", "/sys/fs/cgroup"));
}

TEST(FindMemoryCgroupsTest, BothVersionsAtOnceAreBothLookedAt) {
  const auto found =
      FindMemoryCgroups("5:cpu,cpuacct:/x\n4:memory:/docker/ab\n0::/system\n", kV1Mounts);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_FALSE(found[0].unified);
  EXPECT_THAT(found[0].folders,
              ElementsAre("/sys/fs/cgroup/memory/docker/ab", "/sys/fs/cgroup/memory/docker",
                          "/sys/fs/cgroup/memory"));
  EXPECT_THAT(found[1].folders,
              ElementsAre("/sys/fs/cgroup/unified/system", "/sys/fs/cgroup/unified"));
}

TEST(FindMemoryCgroupsTest, AContainerSeesItsOwnPartOfTheHierarchy) {
  // docker with version 1: the path is the host's, the mount begins at the container.
  const char mount[] = "70 60 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
  EXPECT_THAT(FindMemoryCgroups("4:memory:/docker/ab\n", mount)[0].folders,
              ElementsAre("/sys/fs/cgroup/memory"));
  EXPECT_THAT(FindMemoryCgroups("4:memory:/docker/ab/in\n", mount)[0].folders,
              ElementsAre("/sys/fs/cgroup/memory/in", "/sys/fs/cgroup/memory"));
  // Another's namespace, and one that looks like a prefix.
  EXPECT_THAT(FindMemoryCgroups("4:memory:/../cd\n", mount)[0].folders,
              ElementsAre("/sys/fs/cgroup/memory"));
  EXPECT_THAT(FindMemoryCgroups("4:memory:/docker/abc\n", mount)[0].folders,
              ElementsAre("/sys/fs/cgroup/memory"));
}

TEST(FindMemoryCgroupsTest, BlanksInNamesAreEscaped) {
  const char mount[] = "1 2 0:1 / /sys/my\\040cgroups rw - cgroup2 none rw\n";
  EXPECT_THAT(FindMemoryCgroups("0::/a b\n", mount)[0].folders,
              ElementsAre("/sys/my cgroups/a b", "/sys/my cgroups"));
}

TEST(FindMemoryCgroupsTest, TextsThatAreNotUnderstoodSetNoLimit) {
  for (const char* cgroup : {"", "\n\n", "0:", "0::", "x", "4:memory", "0::relative", "::::\n"}) {
    EXPECT_THAT(FindMemoryCgroups(cgroup, kV2Mount), IsEmpty()) << cgroup;
  }
  for (const char* mount : {"", "-", "1 2 3", "1 2 0:1 / /m rw -", "1 2 0:1 / /m rw - cgroup2",
                            "1 2 0:1 / /m rw - tmpfs t rw"}) {
    EXPECT_THAT(FindMemoryCgroups("0::/a\n", mount), IsEmpty()) << mount;
  }
  // Any damage: nothing but an answer is asked for.
  std::mt19937_64 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string cgroup = "4:memory:/docker/ab\n0::/system\n";
    std::string mount = kV1Mounts;
    for (int n = 0; n < 3; ++n) {
      cgroup[random() % cgroup.size()] = static_cast<char>(random());
      mount[random() % mount.size()] = static_cast<char>(random());
    }
    mount.resize(random() % mount.size());
    for (const CgroupFolders& found : FindMemoryCgroups(cgroup, mount)) {
      EXPECT_FALSE(found.folders.empty());
    }
  }
}

TEST(ReadMemoryLimitsTest, TheMachine) {
  EXPECT_THAT(ReadMemoryLimits(Reading({{"/proc/self/status", kStatus},
                                        {"/proc/meminfo",
                                         "MemTotal:       8388608 kB\nMemFree: 1 kB\n"
                                         "MemAvailable:   7340032 kB\n"}})),
              ElementsAre(Physical("the machine", 8192 * kMiB, 1021 * kMiB)));
  // An old kernel does not say what is available: nothing is held against it.
  EXPECT_THAT(ReadMemoryLimits(Reading({{"/proc/meminfo", "MemTotal: 1024 kB\n"}})),
              ElementsAre(Physical("the machine", kMiB)));
}

TEST(ReadMemoryLimitsTest, Version2AtEveryLevelWithoutCacheAndOwnMemory) {
  const Files files = {{"/proc/self/status", kStatus},
                       {"/proc/self/cgroup", "0::/pod/c\n"},
                       {"/proc/self/mountinfo", kV2Mount},
                       {"/sys/fs/cgroup/pod/c/memory.max", "max\n"},
                       {"/sys/fs/cgroup/pod/memory.max", "1073741824\n"},
                       {"/sys/fs/cgroup/pod/memory.current", "104857600\n"},
                       {"/sys/fs/cgroup/pod/memory.stat",
                        "anon 5\nfile 999999\ninactive_file 10485760\nactive_file 20971520\n"
                        "slab_reclaimable 2097152\nslab_reclaimable_not 7\n"}};
  EXPECT_THAT(ReadMemoryLimits(Reading(files)),
              ElementsAre(Physical("memory cgroup /pod", 1024 * kMiB, (100 - 32 - 3) * kMiB)));
}

TEST(ReadMemoryLimitsTest, Version1CountsCgroupsBelowAndKnowsOfBoundsAbove) {
  Files files = {{"/proc/self/cgroup", "4:memory:/docker/ab\n"},
                 {"/proc/self/mountinfo", kV1Mounts},
                 {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
                 {"/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "9223372036854771712\n"},
                 {"/sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes", "536870912\n"},
                 {"/sys/fs/cgroup/memory/docker/ab/memory.usage_in_bytes", "52428800\n"},
                 {"/sys/fs/cgroup/memory/docker/ab/memory.stat",
                  "inactive_file 7\nhierarchical_memory_limit 536870912\n"
                  "total_inactive_file 1048576\ntotal_active_file 1048576\n"}};
  EXPECT_THAT(ReadMemoryLimits(Reading(files)),
              ElementsAre(Physical("memory cgroup /docker/ab", 512 * kMiB, 48 * kMiB)));
  files["/sys/fs/cgroup/memory/docker/ab/memory.stat"] = "hierarchical_memory_limit 268435456\n";
  EXPECT_THAT(ReadMemoryLimits(Reading(files)),
              ElementsAre(Physical("memory cgroup /docker/ab", 512 * kMiB, 50 * kMiB),
                          Physical("memory cgroup /.. (above it)", 256 * kMiB)));
}

TEST(ReadMemoryLimitsTest, Ulimits) {
  const Files files = {
      {"/proc/self/status", kStatus},
      {"/proc/self/limits",
       "Limit                     Soft Limit           Hard Limit           Units     \n"
       "Max file size             1048576              unlimited            bytes     \n"
       "Max data size             209715200            unlimited            bytes     \n"
       "Max stack size            8388608              unlimited            bytes     \n"
       "Max address space         1073741824           unlimited            bytes     \n"}};
  EXPECT_THAT(
      ReadMemoryLimits(Reading(files)),
      ElementsAre(MemoryLimit{"ulimit -v (address space)", MemoryScope::kAddressSpace, 1024 * kMiB,
                              97 * kMiB},
                  MemoryLimit{"ulimit -d (data)", MemoryScope::kPrivate, 200 * kMiB, 49 * kMiB},
                  MemoryLimit{"ulimit -f (file size)", MemoryScope::kOneFile, kMiB, 0}));
  EXPECT_THAT(ReadMemoryLimits(Reading({{"/proc/self/limits",
                                         "Max address space         unlimited   unlimited bytes\n"
                                         "Max file size\nMax data size x y\n"}})),
              IsEmpty());
}

TEST(ReadMemoryLimitsTest, OnThisHostTheMachineIsAmongThem) {
  const std::vector<MemoryLimit> limits = ReadMemoryLimits();
  ASSERT_FALSE(limits.empty());
  EXPECT_EQ(limits[0].name, "the machine");
  EXPECT_LT(limits[0].others_bytes, limits[0].limit_bytes);
}

TEST(CheckMemoryTest, TheTightestLimitIsNamedWithWhatItCounts) {
  const std::vector<MemoryLimit> limits = {Physical("the machine", 1000),
                                           Physical("memory cgroup /a", 500, 150),
                                           {"ulimit -d (data)", MemoryScope::kPrivate, 120, 10},
                                           {"ulimit -f (file size)", MemoryScope::kOneFile, 60, 0}};
  EXPECT_TRUE(CheckMemory("it", "", {100, 250, 60}, limits).ok());
  EXPECT_EQ(CheckMemory("it", "parts", {100, 251, 60}, limits),
            absl::ResourceExhaustedError("it needs 351 bytes of memory (parts); memory cgroup /a "
                                         "allows 500, of which others use 150"));
  EXPECT_THAT(std::string(CheckMemory("it", "", {111, 0, 0}, limits).message()),
              HasSubstr("needs 111 bytes of memory; ulimit -d (data) allows 120"));
  EXPECT_THAT(std::string(CheckMemory("it", "", {0, 100, 61}, limits).message()),
              HasSubstr("needs 61 bytes of memory; ulimit -f (file size) allows 60"));
  EXPECT_TRUE(CheckMemory("it", "", {~uint64_t{0}, 0, 0}, {}).ok());
}

}  // namespace
}  // namespace isthmus
