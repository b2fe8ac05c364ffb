// A GPU's extraction against the CPU's, bit for bit (docs/protocol.md, P21).
#include "common/gpu/extract_kernel.h"

#include <gtest/gtest.h>

#include "common/compression/block_transform.h"
#include "common/compression/dct.h"
#include "common/compression/demo_codec.h"
#include "common/compression/payload_layout.h"
#include "tests/common/compression/test_data.h"
#include "tests/common/gpu/test_bed.h"

namespace isthmus {
namespace {

struct Dials {
  float decay = 0.999f;
  float alpha = 1.0f;
};

// One rank's part on both.
class Pair {
 public:
  Pair(const PayloadFormat& format, const Dials& dials, uint64_t seed, std::vector<float> momentum)
      : format_(format),
        dials_(dials),
        kernels_(TestBed::Get().Kernels(seed)),
        transform_(1, static_cast<int>(format.chunk_size)),
        tables_(format),
        rows_(std::move(momentum)),
        tiles_(ToLaneTiles(rows_, TiledSize(format))) {}

  // One step on both: momentum, payload, and in odd rounds what comes back.
  void Process(const PayloadPlace& place, float scale, const std::vector<float>& gradient,
               bool extract) {
    const DeviceArray<float> device_gradient(gradient);
    ExtractParams params;
    params.format = tables_.format();
    params.chunks = place.chunks.count;
    params.gradient = device_gradient.data();
    params.momentum = tiles_.data();
    params.decay = dials_.decay;
    params.scale = scale;
    params.alpha = dials_.alpha;
    params.extract = extract;
    DeviceArray<uint32_t> records(RecordWords(params.format, place.chunks.count));
    DeviceArray<uint32_t> presence(PresenceWords(place.chunks.count));
    const bool keep = format_.values == ValueFormat::kSign;
    DeviceArray<float> exact(keep ? place.chunks.count * format_.k : 0);
    if (extract) {
      params.round = place.round;
      params.first_chunk = place.chunks.first;
      params.records = records.data();
      params.presence = presence.data();
      params.exact = keep ? exact.data() : nullptr;
    }
    kernels_.Extract(*TestBed::Get().stream, params);

    Accumulate(scale, gradient);
    if (!extract) return ExpectEqual();
    std::string expected;
    Selection taken = Extract(format_, place, dials_.alpha, rows_, &expected);
    if (format_.block_scales) taken = DecodePayload(AsBytes(expected), format_, place).value();
    ASSERT_EQ(AssemblePayload(format_, place, records.Read(), presence.Read()), expected);
    ASSERT_NO_FATAL_FAILURE(ExpectEqual());
    if (place.round % 2 == 0) return;

    kernels_.Return(*TestBed::Get().stream, {.format = params.format,
                                             .chunks = place.chunks.count,
                                             .momentum = tiles_.data(),
                                             .alpha = dials_.alpha,
                                             .round = place.round,
                                             .first_chunk = place.chunks.first,
                                             .records = records.data(),
                                             .presence = presence.data(),
                                             .exact = params.exact});
    ReturnSelection(format_.chunk_size, dials_.alpha, taken, rows_);
    ExpectEqual();
  }

 private:
  void Accumulate(float scale, const std::vector<float>& gradient) {
    if (format_.transform == Transform::kDct) {
      return AccumulateMomentum(transform_, dials_.decay, scale, gradient, rows_);
    }
    for (size_t i = 0; i < rows_.size(); ++i) {
      rows_[i] = dials_.decay * rows_[i] + scale * gradient[i];
    }
  }
  void ExpectEqual() {
    ASSERT_EQ(Bits(FromLaneTiles(tiles_.Read(), rows_.size(), TiledSize(format_))), Bits(rows_));
  }

  const PayloadFormat format_;
  const Dials dials_;
  const GpuKernels& kernels_;
  const BlockTransform transform_;
  DeviceTables tables_;
  std::vector<float> rows_;
  DeviceArray<float> tiles_;
};

std::string NameOf(const PayloadFormat& format, uint64_t chunks) {
  return (testing::Message() << format.chunk_size << "/" << format.k << " values "
                             << static_cast<int>(format.values) << " positions "
                             << static_cast<int>(format.positions) << " transform "
                             << static_cast<int>(format.transform) << " block scales "
                             << format.block_scales << " x " << chunks)
      .GetString();
}

void ExpectSame(Rng& rng, const PayloadFormat& format, uint64_t chunks, const Dials& dials) {
  SCOPED_TRACE(NameOf(format, chunks));
  Pair pair(format, dials, rng() % 3, AdversarialVector(rng, format.chunk_size, chunks));
  for (uint64_t round = 1; round <= 3; ++round) {
    const PayloadPlace place{round, {40 * round, chunks}};
    ASSERT_NO_FATAL_FAILURE(
        pair.Process(place, 0.5f, AdversarialVector(rng, format.chunk_size, chunks), round != 2));
  }
}

// Which k a chunk size is tried with: each way to tell indices, and both sides of a half.
std::vector<uint32_t> CountsFor(uint32_t size) {
  std::vector<uint32_t> counts = {1, 2, 7, size / 8, size / 4, size / 2, size - 3, size};
  std::erase_if(counts, [size](uint32_t k) { return k == 0 || k > size; });
  return counts;
}

TEST(ExtractKernelTest, P21_ForAllChunkSizesRatesAndValues) {
  Rng rng(50);
  for (uint32_t size = kMinChunkSize; size <= kMaxChunkSize; size *= 2) {
    // A block of chunks and a bit.
    const uint64_t chunks = LaneTileChunks(size) + 1 + rng.Below(3);
    for (uint32_t k : CountsFor(size)) {
      for (ValueFormat values : kValueFormats) {
        if (size > 256 && values != kValueFormats[rng.Below(std::size(kValueFormats))])
          continue;  // slow here
        ASSERT_NO_FATAL_FAILURE(ExpectSame(rng, DctFormat(size, k, values), chunks, {}));
      }
    }
  }
}

TEST(ExtractKernelTest, P21_ForKnownPositions) {
  Rng rng(51);
  for (uint32_t size : {16u, 64u, 128u, 1024u}) {
    for (Positions positions : {Positions::kRandom, Positions::kStriding, Positions::kSlicing}) {
      for (uint32_t k : {1u, size / 8, size / 2}) {
        const PayloadFormat format{
            Transform::kNone, size, k, kValueFormats[rng.Below(std::size(kValueFormats))],
            positions,        rng()};
        ASSERT_NO_FATAL_FAILURE(ExpectSame(rng, format, LaneTileChunks(size) + 2, {0.9f, 1.0f}));
      }
    }
    const PayloadFormat full{Transform::kNone, size, size, ValueFormat::kF32};
    ASSERT_NO_FATAL_FAILURE(ExpectSame(rng, full, 3, {1.0f, 1.0f}));
  }
}

// Local steps choose among what has not been transformed, too.
TEST(ExtractKernelTest, P21_ForChosenOfPlainElements) {
  Rng rng(53);
  for (uint32_t size : {16u, 64u, 256u, 4096u}) {
    for (uint32_t k : {1u, size / 8, size / 2}) {
      PayloadFormat format = DctFormat(size, k, kValueFormats[rng.Below(std::size(kValueFormats))]);
      format.transform = Transform::kNone;
      ASSERT_NO_FATAL_FAILURE(ExpectSame(rng, format, LaneTileChunks(size) + 2, {1.0f, 1.0f}));
    }
  }
}

TEST(ExtractKernelTest, P19a_P21_ForAScalePerBlock) {
  Rng rng(54);
  for (uint32_t size = kScaleBlock; size <= kMaxChunkSize; size *= 2) {
    for (ValueFormat values : {ValueFormat::kInt4, ValueFormat::kTwoBit, ValueFormat::kOneBit}) {
      for (float decay : {1.0f, 0.9f}) {
        PayloadFormat format{Transform::kNone, size, size, values};
        format.block_scales = true;
        const uint64_t chunks = 1 + rng.Below(80 * kScaleBlock / size + 1);
        ASSERT_NO_FATAL_FAILURE(ExpectSame(rng, format, chunks, {decay, 1.0f}));
      }
    }
  }
}

TEST(ExtractKernelTest, P21_ForAnyNumberOfChunksAndShare) {
  Rng rng(52);
  for (uint64_t chunks : {0, 1, 31, 32, 33, 63, 64, 100}) {
    for (float alpha : {1.0f, 0.2f}) {
      for (ValueFormat values : kValueFormats) {
        ASSERT_NO_FATAL_FAILURE(ExpectSame(rng, DctFormat(64, 8, values), chunks, {0.999f, alpha}));
      }
    }
  }
}

TEST(LaneTilesTest, EveryElementHasAPlaceOfItsOwn) {
  for (uint32_t size = kMinChunkSize; size <= kMaxChunkSize; size *= 2) {
    const uint64_t chunks = LaneTileChunks(size) * 2 - 1;
    std::vector<bool> taken(LaneTiledLength(chunks, size));
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      for (uint32_t i = 0; i < size; ++i) {
        const uint64_t place = LaneTilePlace(chunk, i, size);
        ASSERT_LT(place, taken.size());
        ASSERT_FALSE(taken[place]);
        taken[place] = true;
      }
    }
  }
}

}  // namespace
}  // namespace isthmus
