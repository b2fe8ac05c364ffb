// What a contribution costs the coordinator, by the number of groups: its engine in process,
// without a network, on tiny buckets. The processor time of the whole process, in one run for all
// numbers, so that ratios count. Prints JSON.
//
//   coordinator_bench [--contributions N] [GROUPS ...]     default: 40000, for 1 8 64 512 groups

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common/telemetry/log.h"
#include "tests/server/engine/groups_at_engine.h"

namespace isthmus {
namespace {

constexpr uint32_t kBuckets = 8;

double ProcessorSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Result {
  uint32_t groups = 0;
  uint64_t contributions = 0;
  uint64_t frames = 0;
  double seconds = 0;
  double micros_per_contribution() const {
    return 1e6 * seconds / static_cast<double>(contributions);
  }
  double micros_per_frame() const {  // those that arrive, and those that go out
    return 1e6 * seconds / static_cast<double>(contributions + frames);
  }
};

Result Measure(uint32_t groups, uint64_t contributions) {
  GroupsAtEngine at(groups, kBuckets);
  const uint64_t rounds = std::max<uint64_t>(2, contributions / groups / kBuckets);
  std::vector<std::string> payloads;  // made before: a worker's cost, not the coordinator's
  for (uint64_t round = 1; round <= rounds; ++round) {
    for (uint32_t b = 0; b < kBuckets; ++b) payloads.push_back(at.Payload(round, b));
  }
  Result result{.groups = groups};
  const double begin = ProcessorSeconds();
  for (uint64_t round = 1; round <= rounds; ++round) {
    for (uint32_t b = 0; b < kBuckets; ++b) {
      for (uint32_t g = 0; g < groups; ++g) {
        at.Send(g, round, b, payloads[(round - 1) * kBuckets + b],
                [](const absl::Status& status) { ISTHMUS_CHECK(status.ok()); });
      }
    }
    at.AwaitRound(round);
  }
  result.seconds = ProcessorSeconds() - begin;
  result.contributions = rounds * kBuckets * groups;
  for (uint32_t g = 0; g < groups; ++g) result.frames += at.stream(g).frames();
  return result;
}

int Main(int argc, char** argv) {
  uint64_t contributions = 40000;
  std::vector<uint32_t> numbers;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--contributions") == 0 && i + 1 < argc) {
      contributions = std::strtoull(argv[++i], nullptr, 10);
    } else if (const uint64_t groups = std::strtoull(argv[i], nullptr, 10); groups > 0) {
      numbers.push_back(static_cast<uint32_t>(groups));
    } else {
      std::fprintf(stderr,
                   "coordinator_bench: expected [--contributions N] [GROUPS ...], got '%s'\n",
                   argv[i]);
      return 2;
    }
  }
  if (numbers.empty()) numbers = {1, 8, 64, 512};
  (void)SetLogLevel("warning");
  std::printf("[\n");
  for (size_t i = 0; i < numbers.size(); ++i) {
    const Result result = Measure(numbers[i], contributions);
    std::printf(
        " {\"groups\": %u, \"contributions\": %llu, \"frames\": %llu, \"processor_seconds\": %.3f, "
        "\"micros_per_contribution\": %.2f, \"micros_per_frame\": %.2f}%s\n",
        result.groups, static_cast<unsigned long long>(result.contributions),
        static_cast<unsigned long long>(result.frames), result.seconds,
        result.micros_per_contribution(), result.micros_per_frame(),
        i + 1 < numbers.size() ? "," : "");
    std::fflush(stdout);
  }
  std::printf("]\n");
  return 0;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
