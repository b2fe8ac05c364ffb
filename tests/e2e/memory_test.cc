// A worker that has less memory than its machine: a job that would not fit is refused in words, and
// the worker lives on for one that does.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/base/memory_cgroups.h"
#include "common/base/memory_limit.h"
#include "tests/e2e/harness.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = uint64_t{1} << 20;

// A child of this process's own memory cgroup; goes with its owner, once it is empty.
class MemoryCgroup {
 public:
  explicit MemoryCgroup(uint64_t limit_bytes) {
    for (const CgroupFolders& own :
         FindMemoryCgroups(ReadWholeFile("/proc/self/cgroup").value_or(""),
                           ReadWholeFile("/proc/self/mountinfo").value_or(""))) {
      const std::string path = absl::StrCat(own.folders[0], "/isthmus-test-", ::getpid());
      if (::mkdir(path.c_str(), 0755) != 0) continue;
      const std::string limit =
          absl::StrCat(path, own.unified ? "/memory.max" : "/memory.limit_in_bytes");
      if (std::filesystem::exists(limit) && std::ofstream(limit) << limit_bytes << std::flush) {
        path_ = path;
        return;
      }
      ::rmdir(path.c_str());
    }
  }
  ~MemoryCgroup() {
    if (!path_.empty()) {
      Eventually("the cgroup is empty", [&] { return ::rmdir(path_.c_str()) == 0; });
    }
  }
  bool made() const { return !path_.empty(); }
  std::string procs() const { return path_ + "/cgroup.procs"; }

 private:
  std::string path_;
};

// A coordinator, and isthmus-worker started by a shell that first does what `before` says.
class Bounded {
 public:
  explicit Bounded(const std::string& before)
      : coordinator_(Run()),
        socket_(dir_.Path("jobs.sock")),
        worker_({"/bin/sh", "-c",
                 absl::StrCat(before, "; exec ", ISTHMUS_WORKER, " --coordinator ",
                              coordinator_.address(), " --ranks cpu:1 --threads 1 --socket ",
                              socket_, " --log-level error")}) {
    Eventually("the worker has registered", [&] { return coordinator_.Group(1).group_id() == 1; });
  }
  // How a job of `rows` by 1024 parameters fares.
  client::Status Train(int64_t rows) {
    JobOptions options;
    options.socket = socket_;
    options.model.rows = rows;
    options.model.columns = 1024;
    Job job(options);
    return job.Await()[0].status;
  }
  void ExpectAlive() {
    worker_.Signal(SIGTERM);
    EXPECT_EQ(worker_.Await(), 0);
  }

 private:
  static RunSpec Run() {
    RunSpec run = SmallRun(1, 3);
    run.bucket_length = 0;
    return run;
  }
  TestCoordinator coordinator_;
  TempDir dir_;
  std::string socket_;
  Program worker_;
};

void ExpectRefused(const client::Status& status, const std::string& limit) {
  EXPECT_EQ(status.code(), ISTHMUS_RESOURCE_EXHAUSTED) << status.ToString();
  EXPECT_THAT(status.ToString(), HasSubstr("on 1 rank needs "));
  EXPECT_THAT(status.ToString(), HasSubstr(limit));
}

TEST(MemoryTest, AJobThatDoesNotFitTheContainerIsRefusedNotKilled) {
  MemoryCgroup cgroup(160 * kMiB);
  if (!cgroup.made()) GTEST_SKIP() << "needs root and a memory cgroup that may have children";
  Bounded site(absl::StrCat("echo $$ > ", cgroup.procs()));
  // 64 MiB per vector: parameters, gradients, masters, momentum, an image. Masters and momentum
  // alone fit, with the daemon they do not.
  ExpectRefused(site.Train(16 << 10), absl::StrCat("allows ", 160 * kMiB));
  EXPECT_TRUE(site.Train(1 << 10).end());
  site.ExpectAlive();
}

TEST(MemoryTest, ASharedBufferLargerThanAFileMayBeIsRefused) {
  // In units of 512 or 1024 bytes: 16 or 32 MiB. Growing a memfd beyond it kills.
  Bounded site("ulimit -f 32768");
  ExpectRefused(site.Train(16 << 10), "ulimit -f (file size) allows ");
  EXPECT_TRUE(site.Train(1 << 10).end());
  site.ExpectAlive();
}

}  // namespace
}  // namespace isthmus::e2e
