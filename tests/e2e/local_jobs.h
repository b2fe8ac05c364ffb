// Jobs that step by themselves and exchange now and then (docs/protocol.md, P29), at sites of any
// kind: ranks as threads that attach through libisthmus.
#ifndef ISTHMUS_TESTS_E2E_LOCAL_JOBS_H_
#define ISTHMUS_TESTS_E2E_LOCAL_JOBS_H_

#include <cstdint>
#include <functional>
#include <future>
#include <vector>

#include "tests/e2e/harness.h"

namespace isthmus::e2e {

inline constexpr uint64_t kRounds = 5;
inline constexpr uint32_t kEvery = 3;  // steps

RunSpec LocalRun(uint32_t groups, ValueFormat values = ValueFormat::kTwoBit);

// How a rank fared.
struct LocalOutcome {
  client::Status status;
  std::vector<bool> exchanged;  // by step
  std::vector<uint64_t> rounds;
  std::vector<float> parameters;  // at the end; bfloat16 is widened
};

struct LocalJobOptions {
  bool own_optimizer = true;
  uint64_t leave_after = 0;  // steps; 0: at the end of the run
  // After each of the job's steps.
  std::function<void(uint32_t rank, uint64_t step, client::Session& session)> edit;
  // Device memory is addressed as the host's (harness.h).
  isthmus_memory memory = ISTHMUS_HOST_MEMORY;
  isthmus_dtype dtype = ISTHMUS_FLOAT32;
};

// One rank, which steps by SGD until the run ends.
LocalOutcome TrainLocalRank(const Site& site, uint32_t rank, const LocalJobOptions& options);
std::vector<std::future<LocalOutcome>> TrainLocalRanks(const Site& site,
                                                       const LocalJobOptions& options = {});

// A site, and what is its own of its job.
struct LocalSite {
  // NOLINTNEXTLINE(google-explicit-constructor): a number of CPU ranks is a site
  LocalSite(uint32_t rank_count) : ranks(rank_count) {}
  LocalSite(uint32_t rank_count, std::function<void(Daemon::Options&)> edited,
            isthmus_memory where = ISTHMUS_HOST_MEMORY)
      : ranks(rank_count), edit(std::move(edited)), memory(where) {}
  uint32_t ranks;
  std::function<void(Daemon::Options&)> edit;
  isthmus_memory memory = ISTHMUS_HOST_MEMORY;
};

// Sites 1, 2, ... to the end of the run, whose jobs then hold the same; each exchanges at the steps
// where it should. Returns the state hash.
uint64_t TrainLocalSites(const RunSpec& run, const std::vector<LocalSite>& sites,
                         const LocalJobOptions& options = {});

}  // namespace isthmus::e2e

#endif  // ISTHMUS_TESTS_E2E_LOCAL_JOBS_H_
