#include "common/base/process_limits.h"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

namespace isthmus {
namespace {

TEST(ProcessLimitsTest, DescriptorsAreRaisedToTheHardLimit) {
  rlimit former{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &former), 0);
  rlimit low = former;
  low.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(DescriptorLimit(), 64);
  RaiseDescriptorLimit();
  rlimit raised{};
  getrlimit(RLIMIT_NOFILE, &raised);
  EXPECT_EQ(raised.rlim_cur, former.rlim_max);
  EXPECT_EQ(raised.rlim_max, former.rlim_max);
  setrlimit(RLIMIT_NOFILE, &former);
}

TEST(ProcessLimitsTest, ThreadsThatAreThereAreNoError) { EXPECT_TRUE(CheckThreads(8).ok()); }

// Becomes a user who may have three threads: root has no such limit.
void AskForThreadsAsNobody() {
  constexpr uid_t kNobodyElse = 64999;
  const rlimit few{3, 3};
  if (setgroups(0, nullptr) != 0 || setrlimit(RLIMIT_NPROC, &few) != 0 ||
      setresuid(kNobodyElse, kNobodyElse, kNobodyElse) != 0) {
    _exit(9);
  }
  const absl::Status status = CheckThreads(8);
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  _exit(absl::IsResourceExhausted(status) ? 1 : 0);
}

TEST(ProcessLimitsTest, TooFewThreadsAreAnErrorInWords) {
  if (getuid() != 0) GTEST_SKIP() << "needs root, to become a user without other processes";
  // Of three, the process is one, and ThreadSanitizer's own, where there is one, another.
  EXPECT_EXIT(AskForThreadsAsNobody(), ::testing::ExitedWithCode(1),
              "needs 8 threads, the system gives [12] .Resource temporarily unavailable.: see");
}

}  // namespace
}  // namespace isthmus
