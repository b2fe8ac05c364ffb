// NCCL between two processes that share one GPU: each says that it is another host (NCCL_HOSTID),
// so that they meet over the loopback interface, as daemons of two machines of one site would. The
// test is the parent; `nccl_pair_test --rank R --id HEX --do WHAT` is one of the two.
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "common/base/check.h"
#include "common/collectives/nccl_communicator.h"
#include "tests/gpu/cuda_main.h"

extern char** environ;

namespace isthmus {
namespace {

constexpr int kPipeEnds[2] = {30, 31};  // of a pipe between the two, as they inherit it
constexpr absl::Duration kDeadline = absl::Seconds(20);

std::string ToHex(const Nccl::Id& id) {
  std::string text;
  for (const std::byte b : id) {
    char two[3];
    std::snprintf(two, sizeof(two), "%02x", std::to_integer<unsigned>(b));
    text += two;
  }
  return text;
}

Nccl::Id FromHex(const std::string& text) {
  Nccl::Id id;
  for (size_t i = 0; i < id.size(); ++i) {
    id[i] = static_cast<std::byte>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
  }
  return id;
}

// --- one of the two ------------------------------------------------------------------------------

struct Side {
  std::shared_ptr<Device> device = OpenCudaDevice(0).value();
  std::unique_ptr<DeviceStream> stream = device->MakeStream().value();
  std::unique_ptr<DeviceCommunicator> ranks;
};

// Every rank gathers what each has of the mean.
absl::Status ReduceAndGather(Side& side, const Partition& whole) {
  const uint32_t rank = side.ranks->rank();
  const uint64_t length = whole.length();
  const DeviceMemory input = side.device->Allocate(length * sizeof(float)).value();
  const DeviceMemory part = side.device->Allocate(length * sizeof(float)).value();
  const DeviceMemory output = side.device->Allocate(length * sizeof(float)).value();
  std::vector<float> values(length);
  std::iota(values.begin(), values.end(), static_cast<float>(rank));
  side.stream->CopyIn(input.data(), values.data(), length * sizeof(float));
  absl::Status status =
      side.ranks->ReduceScatterMean(*side.stream, input.as<float>(), whole, part.as<float>());
  if (status.ok()) {
    status = side.ranks->AllGather(*side.stream, part.data(), whole, sizeof(float), output.data());
  }
  if (status.ok()) status = side.ranks->Synchronize(*side.stream);  // watched; the copy is not
  side.stream->CopyOut(values.data(), output.data(), length * sizeof(float));
  if (status.ok()) status = side.stream->Synchronize();
  for (uint64_t i = 0; status.ok() && i < length; ++i) {
    if (values[i] != static_cast<float>(i) + 0.5f) status = absl::DataLossError("a wrong mean");
  }
  return status;
}

// Returns the exit code: 0 as expected.
int BeOneOfTwo(uint32_t rank, const Nccl::Id& id, const std::string& what) {
  Side side;
  Device* const device = side.device.get();
  auto made =
      MakeNcclCommunicators(OpenNccl().value(), id, 2, rank, {&device, 1}, {.deadline = kDeadline});
  if (!made.ok()) {
    std::printf("rank %u: %s\n", rank, made.status().ToString().c_str());
    return 1;
  }
  side.ranks = std::move((*made)[0]);
  absl::Status status;
  for (const Partition& whole :
       {Partition(8192, {{{0, 4096}}, {{4096, 8192}}}),
        Partition(12288, {{{0, 4096}}, {{4096, 12288}}}), Partition::AllOf(1, 2, 4096),
        Partition(16384, {{{0, 4096}, {8192, 12288}}, {{4096, 8192}, {12288, 16384}}})}) {
    if (status.ok()) status = ReduceAndGather(side, whole);
  }
  if (status.ok() && what == "leave") {
    char done = 1;
    if (rank == 1) {  // once the other has all it needs
      ISTHMUS_CHECK(::read(kPipeEnds[0], &done, 1) == 1);
      ::raise(SIGKILL);
    }
    ISTHMUS_CHECK(::write(kPipeEnds[1], &done, 1) == 1);
    status = side.ranks->Barrier();  // nobody comes
    std::printf("rank 0: %s\n", status.ToString().c_str());
    return status.code() == absl::StatusCode::kAborted ? 0 : 1;
  }
  if (!status.ok()) std::printf("rank %u: %s\n", rank, status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

// --- the parent ----------------------------------------------------------------------------------

pid_t Start(uint32_t rank, const std::string& id, const char* what) {
  ::setenv("NCCL_HOSTID", rank == 0 ? "isthmus-a" : "isthmus-b", 1);
  ::setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  ::setenv("NCCL_IB_DISABLE", "1", 1);
  const std::string rank_text = std::to_string(rank);
  const char* argv[] = {
      "nccl_pair_test", "--rank", rank_text.c_str(), "--id", id.c_str(), "--do", what, nullptr};
  pid_t pid = -1;
  ISTHMUS_CHECK(::posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr,
                              const_cast<char* const*>(argv), environ) == 0);
  return pid;
}

// Exit codes, or -signal, of both.
std::pair<int, int> RunPair(const char* what) {
  const std::string id = ToHex(OpenNccl().value()->MakeId().value());
  int ends[2];
  ISTHMUS_CHECK(::pipe(ends) == 0);
  for (int i = 0; i < 2; ++i) {
    ISTHMUS_CHECK(::dup2(ends[i], kPipeEnds[i]) == kPipeEnds[i]);
    ::close(ends[i]);
  }
  const pid_t pids[] = {Start(0, id, what), Start(1, id, what)};
  for (const int end : kPipeEnds) ::close(end);
  int codes[2];
  for (int i = 0; i < 2; ++i) {
    int status = 0;
    ::waitpid(pids[i], &status, 0);
    codes[i] = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  return {codes[0], codes[1]};
}

TEST(NcclPairTest, TwoProcessesReduceAndGather) {
  EXPECT_EQ(RunPair("collectives"), std::pair(0, 0));
}

TEST(NcclPairTest, WhoStaysIsToldThatTheOtherIsGone) {
  EXPECT_EQ(RunPair("leave"), std::pair(0, -SIGKILL));
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) {
  if (argc == 7 && std::strcmp(argv[1], "--rank") == 0) {
    return isthmus::BeOneOfTwo(static_cast<uint32_t>(std::stoul(argv[2])),
                               isthmus::FromHex(argv[4]), argv[6]);
  }
  // (The parent makes no context: it starts children.)
  return isthmus::RunCudaTests(argc, argv, [] { return isthmus::OpenNccl().status(); });
}
