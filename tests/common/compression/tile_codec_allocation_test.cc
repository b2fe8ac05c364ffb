// Counts what this program allocates, to prove that the codec does not in the long run.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "common/compression/demo_codec.h"
#include "common/compression/intake.h"
#include "common/compression/tile_codec.h"
#include "common/compression/update_payload.h"
#include "common/kernels/simd.h"
#include "tests/common/compression/tiles.h"

namespace {

std::atomic<int64_t> allocations{0};

void* Allocate(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace isthmus {
namespace {

void InOrder(int count, const std::function<void(int)>& body) {
  for (int i = 0; i < count; ++i) body(i);
}

TEST(AllocationTest, TheTileCodecAllocatesInItsFirstCallOnly) {
  Rng rng(34);
  for (ValueFormat values : kValueFormats) {
    for (int threads : {1, 3}) {
      const PayloadFormat format = DctFormat(64, 8, values);
      TileCodec codec(format, {0.999f, 1.0f}, ActiveKernels(), threads,
                      threads == 1 ? ParallelFor() : ParallelFor(InOrder));
      const std::vector<float> gradient = RandomVector(rng, 64 * 100);
      const std::vector<float> sparse = AdversarialVector(rng, 64, 100);
      std::vector<float> momentum(TiledLength(100, 64));
      std::string payload;
      std::vector<float> exact;
      const auto run = [&](uint64_t round, const std::vector<float>& g) {
        const PayloadPlace place{round, {0, 100}};
        codec.Accumulate(1.0f, g, momentum);
        codec.AccumulateAndExtract(place, 1.0f, g, momentum, &payload, &exact);
        codec.Return(ViewOf(payload, format, place), exact, momentum);
      };
      std::fill(momentum.begin(), momentum.end(), 0.0f);
      run(0, sparse);  // with absent chunks, for which the writer needs memory
      run(1, gradient);
      EXPECT_GT(allocations, 0);  // they are counted
      const int64_t before = allocations;
      for (uint64_t round = 2; round < 6; ++round) run(round, round % 2 == 0 ? gradient : sparse);
      EXPECT_EQ(allocations - before, 0) << threads;
    }
  }
}

TEST(AllocationTest, ParsingAndDirectionsAllocateNothing) {
  Rng rng(35);
  for (bool sign : {false, true}) {
    const UpdateFormat format{DctFormat(64, 8, ValueFormat::kOneBit), MergeRule::kSenderMean, sign};
    const PayloadPlace place{0, {0, 100}};
    const std::string payload =
        PayloadOf(format.contribution, place, AdversarialVector(rng, 64, 100));
    const PayloadView view = ViewOf(payload, format.contribution, place);
    const MergeInput input{1.0f, {&view, 1}};
    const std::string update = EncodeUpdate(format, place, {&input, 1});
    const UpdateView encoded = *UpdateView::Parse(AsBytes(update), format, place);
    const EncodedContribution contributions[] = {{1.0f, {AsBytes(payload)}}, {1.0f, {}}};
    const UpdateView direct = *UpdateView::FromContributions(contributions, 1, format, place);
    DirectionScratch scratch(format, ActiveKernels());
    std::vector<float> u(64 * 100);
    direct.Direction(0, u, &view, scratch);  // of as many parts as never before
    const int64_t before = allocations;
    (void)PayloadView::Parse(AsBytes(payload), format.contribution, place);
    encoded.Direction(0, u, nullptr, scratch);
    direct.Direction(0, u, &view, scratch);
    EXPECT_EQ(allocations - before, 0) << sign;
  }
}

// An exchange of local steps: progress in, payload out; updates of both kinds in, directions out.
TEST(AllocationTest, BlocksAllocateInTheirFirstCallOnly) {
  Rng rng(36);
  UpdateFormat format{{Transform::kNone, 64, 64, ValueFormat::kTwoBit, Positions::kChosen, 0, true},
                      MergeRule::kMean,
                      false};
  format.requantized = ValueFormat::kInt4;
  const PayloadPlace place{0, {0, 100}};
  std::vector<float> given = RandomVector(rng, 64 * 100), now = RandomVector(rng, given.size());
  std::vector<float> progress(given.size()), momentum(given.size()), u(64 * kTileChunks);
  PayloadWriter writer;
  std::string own;
  const std::string other = PayloadOf(format.contribution, place, RandomVector(rng, given.size()));
  const PayloadView sent = ViewOf(other, format.contribution, place);
  const MergeInput input{1.0f, {&sent, 1}};
  const std::string again = EncodeUpdate(format, place, {&input, 1});
  const EncodedContribution contributions[] = {{1.0f, {}}, {1.0f, {AsBytes(other)}}};
  DirectionScratch scratch(format, ActiveKernels());
  UpdateView update;
  const auto exchange = [&] {
    EXPECT_TRUE(TakeProgress(given, std::span(now), 1.0f, progress));
    AccumulateAndExtract(format.contribution, place, 1.0f, 1.0f, progress, momentum, writer, &own);
    const PayloadView view = *PayloadView::ParseTrusted(AsBytes(own), format.contribution, place);
    EXPECT_TRUE(update.SetContributions(contributions, 0, format, place).ok());
    update.Direction(0, u, &view, scratch);
    EXPECT_TRUE(update.SetPayload(AsBytes(again), format, place).ok());
    update.Direction(16, u, nullptr, scratch);
  };
  exchange();
  const int64_t before = allocations;
  exchange();
  exchange();
  EXPECT_EQ(allocations - before, 0);
}

}  // namespace
}  // namespace isthmus
