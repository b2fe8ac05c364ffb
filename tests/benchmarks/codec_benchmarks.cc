// The codec's steps one by one, for whoever changes them: Google Benchmark over the workloads of
// `isthmus bench`, which prints the figures that count, as ratios. Arguments: Mi parameters, k.
//
//   codec_benchmarks --benchmark_filter=Compress/16
#include <benchmark/benchmark.h>

#include <map>
#include <memory>

#include "cli/bench/workloads.h"

namespace isthmus {
namespace {

// One at a time, since each holds several long vectors.
Workloads& WorkloadsFor(const benchmark::State& state) {
  static std::pair<int64_t, int64_t> made;
  static std::unique_ptr<Workloads> workloads;
  const std::pair<int64_t, int64_t> wanted{state.range(0), state.range(1)};
  if (workloads == nullptr || made != wanted) {
    workloads.reset();
    workloads = std::make_unique<Workloads>(Workloads::Options{
        .parameters = static_cast<uint64_t>(wanted.first) << 20,
        .format = {Transform::kDct, 64, static_cast<uint32_t>(wanted.second), ValueFormat::kOneBit},
        .groups = 2});
    made = wanted;
  }
  return *workloads;
}

template <void (Workloads::*kStep)()>
void Step(benchmark::State& state) {
  Workloads& workloads = WorkloadsFor(state);
  for (auto _ : state) (workloads.*kStep)();
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(workloads.parameters()));
}

#define ISTHMUS_STEP(name)            \
  BENCHMARK(Step<&Workloads::name>)   \
      ->Name(#name)                   \
      ->Unit(benchmark::kMillisecond) \
      ->ArgsProduct({{1, 16}, {8}})

ISTHMUS_STEP(Memcpy);
ISTHMUS_STEP(MomentumUpdate);
ISTHMUS_STEP(Compress);
ISTHMUS_STEP(Merge);
ISTHMUS_STEP(ApplyContributions);
ISTHMUS_STEP(ApplySigns);
ISTHMUS_STEP(Hash);

}  // namespace
}  // namespace isthmus

BENCHMARK_MAIN();
