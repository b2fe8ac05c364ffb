// A GPU's decoding and step against the CPU's, bit for bit (docs/protocol.md, P20, P21): random
// contributions through every encoding of an update.
#include "common/gpu/apply_kernel.h"

#include <gtest/gtest.h>

#include <deque>

#include "common/compression/direction.h"
#include "common/gpu/update_image.h"
#include "common/kernels/simd.h"
#include "common/tensor/layout.h"
#include "tests/common/compression/test_data.h"
#include "tests/common/gpu/test_bed.h"

namespace isthmus {
namespace {

constexpr uint32_t kGroups = 3;

struct Group {
  float weight = 1.0f;
  PayloadFormat format;
  std::deque<std::string> parts;
  std::vector<PayloadView> views;
  std::vector<float> momentum;
};

// kBlockScales: local steps that send all in few bits (P19a, P20).
enum class Kind { kOneScale, kBlockScales };

class Bucket {
 public:
  Bucket(uint64_t seed, Kind kind) : rng_(seed) {
    if (kind == Kind::kBlockScales) {
      ChooseBlocks();
    } else {
      ChooseFormat();
    }
    const size_t count = 1 + rng_.Below(5);
    std::vector<uint64_t> samples;
    const bool equal = rng_.Chance(0.5);
    for (size_t i = 0; i < count; ++i) {
      samples.push_back(equal ? 5 : rng_.Chance(0.1) ? 0 : 1 + rng_.Below(1000));
      MakeGroup();
    }
    const std::vector<float> weights = MergeWeights(samples);
    for (size_t i = 0; i < count; ++i) groups_[i].weight = weights[i];
    const uint64_t units = kUnitLength / format_.contribution.chunk_size;
    part_ = place_;
    if (place_.chunks.count > units) {
      part_.chunks.first += units;
      part_.chunks.count -= units;
    }
    const uint64_t length = part_.chunks.count * format_.contribution.chunk_size;
    parameters_ = RandomVector(rng_, length);
    state1_ = RandomVector(rng_, length);
    state2_ = RandomVector(rng_, length);
    for (float& square : state2_) square = std::fabs(square);
    for (uint64_t i = 0; i < length / 64; ++i) {
      groups_of_.push_back(static_cast<uint8_t>(rng_.Below(kGroups)));
    }
    for (uint32_t i = 0; i < kGroups; ++i) {
      const auto any = [&] { return static_cast<float>(0.5 + 0.5 * rng_.Uniform()); };
      scalars_.push_back({any(), any(), any(), any(), rng_.Chance(0.5)});
    }
  }

  // Merged and encoded by the coordinator, in whichever way is smallest.
  UpdateEncoding CheckEncoded() {
    std::vector<MergeInput> inputs;
    for (const Group& group : groups_) inputs.push_back({group.weight, group.views});
    const std::string update = EncodeUpdate(format_, place_, inputs);
    const auto view = UpdateView::Parse(AsBytes(update), format_, place_);
    EXPECT_TRUE(view.ok()) << view.status();
    Check(*view, nullptr, {});
    return view->encoding();
  }

  // The contributions themselves; of its own, the receiver has the records on its device.
  void CheckContributions() {
    std::vector<EncodedContribution> contributions;
    for (const Group& group : groups_) {
      EncodedContribution& contribution = contributions.emplace_back();
      contribution.weight = group.weight;
      contribution.format = group.format;
      for (const std::string& part : group.parts) contribution.parts.push_back(AsBytes(part));
    }
    const auto all =
        UpdateView::FromContributions(contributions, UpdateView::kNotHere, format_, place_);
    ASSERT_TRUE(all.ok()) << all.status();
    Check(*all, nullptr, {});

    const size_t own = rng_.Below(groups_.size());
    contributions[own].parts.clear();
    const auto others =
        UpdateView::FromContributions(contributions, static_cast<int>(own), format_, place_);
    ASSERT_TRUE(others.ok()) << others.status();
    // As an extraction leaves them: a record of every chunk, absent or not.
    const uint32_t size = format_.contribution.chunk_size;
    const uint64_t skipped = (part_.chunks.first - place_.chunks.first) * size;
    std::vector<float> momentum(groups_[own].momentum.begin() + static_cast<ptrdiff_t>(skipped),
                                groups_[own].momentum.end());
    const PayloadFormat& format = groups_[own].format;
    const std::string payload = PayloadOf(format, part_, std::move(momentum));
    const PayloadView view = ViewOf(payload, format, part_);
    DeviceTables tables(format);
    const auto bits = static_cast<uint64_t>(tables.format().record_bits);
    std::vector<uint32_t> records(RecordWords(tables.format(), part_.chunks.count));
    std::vector<uint32_t> presence(PresenceWords(part_.chunks.count));
    for (uint64_t chunk = 0; chunk < part_.chunks.count; ++chunk) {
      if (!view.presence().Present(chunk)) continue;
      presence[chunk / 32] |= 1u << (chunk % 32);
      for (uint64_t i = 0; i < bits; ++i) {
        const uint64_t to = chunk * bits + i;
        const bool bit = GetBit(view.records(), view.presence().Before(chunk) * bits + i);
        records[to / 32] |= uint32_t{bit} << (to % 32);
      }
    }
    const DeviceArray<uint32_t> device_records(records), device_presence(presence);
    Check(*others, &view,
          {part_.chunks.first,
           part_.chunks.count,
           device_records.data(),
           {device_presence.data(), nullptr},
           format.values});
  }

 private:
  void ChooseFormat() {
    PayloadFormat& contribution = format_.contribution;
    contribution.transform = rng_.Chance(0.5) ? Transform::kDct : Transform::kNone;
    contribution.chunk_size = 16u << (rng_.Chance(0.8) ? rng_.Below(5) : rng_.Below(9));
    contribution.values = kValueFormats[rng_.Below(std::size(kValueFormats))];
    contribution.positions = static_cast<Positions>(rng_.Below(4));
    contribution.seed = rng_();
    const uint32_t size = contribution.chunk_size;
    const uint32_t powers[] = {1, 2, 4, 8, size / 2, size};
    contribution.k = powers[rng_.Below(6)];
    if (contribution.positions == Positions::kChosen && rng_.Chance(0.5)) {
      contribution.k = 1 + static_cast<uint32_t>(rng_.Below(size));
    }
    format_.merge = static_cast<MergeRule>(rng_.Below(3));
    format_.sign = rng_.Chance(0.6);
    const uint64_t units = kUnitLength / size;
    place_ = {rng_.Below(1000), units * rng_.Below(10), units * (1 + rng_.Below(2))};
  }

  void ChooseBlocks() {
    PayloadFormat& contribution = format_.contribution;
    contribution = {.transform = Transform::kNone,
                    .chunk_size = kScaleBlock << rng_.Below(7),
                    .values = AnyScaled(),
                    .block_scales = true};
    contribution.k = contribution.chunk_size;
    format_.merge = rng_.Chance(0.8) ? MergeRule::kMean : MergeRule::kSum;
    format_.sign = false;
    format_.uniform = rng_.Chance(0.5);
    format_.requantized = AnyScaled();
    const uint64_t units = kUnitLength / contribution.chunk_size;
    place_ = {rng_.Below(1000), units * rng_.Below(10), units * (1 + rng_.Below(2))};
  }
  ValueFormat AnyScaled() {
    constexpr ValueFormat kScaled[] = {ValueFormat::kInt4, ValueFormat::kTwoBit,
                                       ValueFormat::kOneBit};
    return kScaled[rng_.Below(std::size(kScaled))];
  }

  void MakeGroup() {
    const uint32_t size = format_.contribution.chunk_size;
    Group& group = groups_.emplace_back();
    group.format = format_.contribution;
    if (!format_.uniform) group.format.values = AnyScaled();
    group.momentum = rng_.Chance(0.3) ? RandomVector(rng_, place_.chunks.count * size)
                                      : AdversarialVector(rng_, size, place_.chunks.count);
    if (rng_.Chance(0.3)) {
      for (size_t i = 0; i < group.momentum.size(); ++i) {
        if (i / size % 5 != 2) group.momentum[i] = 0.0f;
      }
    }
    for (uint64_t at = 0; at < place_.chunks.count;) {
      const uint64_t count = 1 + rng_.Below(place_.chunks.count - at);
      const auto begin = group.momentum.begin() + static_cast<ptrdiff_t>(at * size);
      const PayloadPlace part{place_.round, {place_.chunks.first + at, count}};
      group.parts.push_back(
          PayloadOf(group.format, part, {begin, begin + static_cast<ptrdiff_t>(count * size)}));
      group.views.push_back(ViewOf(group.parts.back(), group.format, part));
      at += count;
    }
  }

  void Check(const UpdateView& update, const PayloadView* own, const PartRecords& own_records) {
    for (const OptimizerSpec& optimizer :
         {OptimizerSpec{}, OptimizerSpec{.momentum = 0.9f},
          OptimizerSpec{.kind = OptimizerKind::kNesterov, .momentum = 0.5f},
          OptimizerSpec{.kind = OptimizerKind::kAdamW}}) {
      CheckWith(optimizer, update, own, own_records);
    }
  }

  void CheckWith(const OptimizerSpec& optimizer, const UpdateView& update, const PayloadView* own,
                 const PartRecords& own_records) {
    const int vectors = OptimizerStateVectors(optimizer);
    const DeviceArray<float> parameters(parameters_), state1(state1_), state2(state2_);
    const DeviceArray<uint8_t> groups(groups_of_);
    const DeviceArray<OptimizerScalars> scalars(scalars_);
    const DeviceTables tables(format_.contribution);
    UpdateImage image;
    image.Begin(update, part_, own_records);
    std::vector<std::byte> bytes(image.size_bytes());
    const DeviceArray<std::byte> device_bytes(bytes.size());
    ApplyParams params;
    image.Write(device_bytes.data(), bytes, &params);
    DeviceStream& stream = *TestBed::Get().stream;
    stream.CopyIn(device_bytes.data(), bytes.data(), bytes.size());
    params.format = tables.format();
    params.merge = format_.merge;
    params.sign = format_.sign;
    params.known_signs = HasKnownSigns(format_);
    params.optimizer = optimizer;
    params.scalars = scalars.data();
    params.groups = groups.data();
    params.parameters = parameters.data();
    params.state1 = vectors >= 1 ? state1.data() : nullptr;
    params.state2 = vectors >= 2 ? state2.data() : nullptr;
    TestBed::Get().Kernels(rng_()).Apply(stream, params);

    std::vector<float> direction(parameters_.size());
    DirectionScratch scratch(format_, ActiveKernels());
    update.Direction(part_.chunks.first, direction, own, scratch);
    std::vector<float> expected = parameters_, first = state1_, second = state2_;
    for (size_t i = 0; i < expected.size(); i += 64) {
      const auto piece = [i](std::vector<float>& vector) {
        return std::span(vector).subspan(i, 64);
      };
      ApplyDirection(optimizer, scalars_[groups_of_[i / 64]], piece(direction), piece(expected),
                     vectors >= 1 ? piece(first) : std::span<float>(),
                     vectors >= 2 ? piece(second) : std::span<float>());
    }
    ASSERT_EQ(Bits(parameters.Read()), Bits(expected));
    ASSERT_EQ(Bits(state1.Read()), Bits(first));
    ASSERT_EQ(Bits(state2.Read()), Bits(second));
  }

  Rng rng_;
  UpdateFormat format_;
  PayloadPlace place_;  // of the bucket
  PayloadPlace part_;   // of the rank
  std::deque<Group> groups_;
  std::vector<float> parameters_, state1_, state2_;
  std::vector<uint8_t> groups_of_;
  std::vector<OptimizerScalars> scalars_;
};

TEST(ApplyKernelTest, P20_P21_EveryEncodingOfAnUpdateStepsTheSame) {
  int seen[6] = {};
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    Bucket bucket(seed, Kind::kOneScale);
    ++seen[static_cast<int>(bucket.CheckEncoded())];
    bucket.CheckContributions();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(seen[static_cast<int>(UpdateEncoding::kSigns)], 10);
  EXPECT_GT(seen[static_cast<int>(UpdateEncoding::kValues)], 10);
  EXPECT_GT(seen[static_cast<int>(UpdateEncoding::kTernary)], 3);
}

// Forwarded, of formats that differ too; and a mean that was said in blocks again.
TEST(ApplyKernelTest, P19a_P20_P21_WhatHasAScalePerBlockStepsTheSame) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    Bucket bucket(seed, Kind::kBlockScales);
    EXPECT_EQ(bucket.CheckEncoded(), UpdateEncoding::kRequantized);
    bucket.CheckContributions();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace isthmus
