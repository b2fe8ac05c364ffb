#include "tests/e2e/local_jobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "common/collectives/element_copies.h"

namespace isthmus::e2e {
namespace {

Elements ElementsOf(isthmus_dtype dtype, client::Session& session, size_t tensor) {
  if (dtype == ISTHMUS_FLOAT32) return session.Parameter(tensor);
  const std::span<uint16_t> halves = session.Parameter<uint16_t>(tensor);
  return {DType::kBFloat16, halves.data(), halves.size()};
}

// A step of SGD, rounded as the job holds it.
void StepOnce(uint32_t group, uint32_t rank, uint64_t step, const Elements& held) {
  std::vector<float> parameters(held.size()), gradient(held.size());
  CopyToFloats(held, parameters);
  FillGradient(group, rank, step, parameters, gradient);
  for (size_t i = 0; i < gradient.size(); ++i) parameters[i] -= 0.05f * gradient[i];
  CopyFromFloats(parameters, held);
}

// So many steps after it began an exchange is applied; the last where it began.
void ExpectSteps(const RunSpec& run, const LocalOutcome& outcome) {
  ASSERT_EQ(outcome.exchanged.size(), kRounds * kEvery);
  for (uint64_t step = 1; step <= outcome.exchanged.size(); ++step) {
    const bool last = step == kRounds * kEvery;
    const uint64_t round =
        last ? kRounds : (step - std::min<uint64_t>(step, run.format.overlap)) / kEvery;
    const bool exchanged = last || (round > 0 && (step - run.format.overlap) % kEvery == 0);
    EXPECT_EQ(outcome.exchanged[step - 1], exchanged) << step;
    EXPECT_EQ(outcome.rounds[step - 1], round) << step;
  }
}

}  // namespace

RunSpec LocalRun(uint32_t groups, ValueFormat values) {
  RunSpec run = SmallRun(groups, kRounds, Scheme::kLocal);
  run.format.all.values = values;
  run.format.every = {.steps = kEvery};
  return run;
}

LocalOutcome TrainLocalRank(const Site& site, uint32_t rank, const LocalJobOptions& options) {
  const Model model;
  LocalOutcome outcome;
  std::vector<client::Tensor> tensors = model.Tensors(site.group());
  for (client::Tensor& tensor : tensors) {
    tensor.dtype = options.dtype;
    if (options.dtype == ISTHMUS_BFLOAT16 && !tensor.constant) tensor.data = {};  // zeros
  }
  auto session = client::Session::Attach({.socket_path = site.socket(),
                                          .local_rank = static_cast<int32_t>(rank),
                                          .timeout_seconds = 120,
                                          .memory = options.memory,
                                          .own_optimizer = options.own_optimizer},
                                         tensors);
  if (!session.ok()) {
    outcome.status = session.status();
    return outcome;
  }
  for (uint64_t step = 1;; ++step) {
    for (const size_t tensor : {0, 2}) {
      StepOnce(site.group(), rank, step, ElementsOf(options.dtype, *session, tensor));
    }
    if (options.edit) options.edit(rank, step, *session);
    auto result = session->Step({.samples = 1 + rank, .loss = 2.0f});
    if (!result.ok()) {
      outcome.status = result.status();
      break;
    }
    outcome.exchanged.push_back(result->exchanged != 0);
    outcome.rounds.push_back(result->round);
    if (step == options.leave_after && result->round < session->Info().rounds) break;
  }
  for (const size_t tensor : {0, 2}) {
    const Elements held = ElementsOf(options.dtype, *session, tensor);
    const size_t begin = outcome.parameters.size();
    outcome.parameters.resize(begin + held.size());
    CopyToFloats(held, std::span(outcome.parameters).subspan(begin));
  }
  return outcome;
}

std::vector<std::future<LocalOutcome>> TrainLocalRanks(const Site& site,
                                                       const LocalJobOptions& options) {
  std::vector<std::future<LocalOutcome>> ranks;
  for (uint32_t rank = 0; rank < site.ranks(); ++rank) {
    ranks.push_back(std::async(std::launch::async, [&site, rank, options] {
      return TrainLocalRank(site, rank, options);
    }));
  }
  return ranks;
}

uint64_t TrainLocalSites(const RunSpec& run, const std::vector<LocalSite>& sites,
                         const LocalJobOptions& options) {
  TestCoordinator coordinator(run);
  std::vector<std::unique_ptr<Site>> started;
  std::vector<std::future<LocalOutcome>> jobs;
  for (uint32_t i = 0; i < sites.size(); ++i) {
    started.push_back(
        std::make_unique<Site>(coordinator.address(), i + 1, sites[i].ranks, sites[i].edit));
    LocalJobOptions its = options;
    its.memory = sites[i].memory;
    for (auto& rank : TrainLocalRanks(*started.back(), its)) jobs.push_back(std::move(rank));
  }
  const uint64_t hash = coordinator.ExpectEqualHashes(static_cast<uint32_t>(sites.size()));
  std::vector<float> first;
  for (auto& job : jobs) {
    const LocalOutcome outcome = job.get();
    EXPECT_TRUE(outcome.status.end()) << outcome.status.message();
    if (run.format.every.steps > 0) ExpectSteps(run, outcome);
    // The job has stepped once more since; at the end it holds the anchor.
    if (first.empty()) first = outcome.parameters;
    EXPECT_EQ(outcome.parameters, first);
  }
  return hash;
}

}  // namespace isthmus::e2e
