#include "common/compression/payload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "common/compression/topk.h"
#include "common/kernels/simd.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

// Reads it all, and says of each chunk whether it is there.
std::vector<bool> Presence(const PayloadView& view) {
  const PayloadPlace& place = view.place();
  std::vector<bool> present;
  std::vector<uint16_t> indices(view.format().k);
  std::vector<float> values(view.format().k);
  for (uint64_t chunk = 0; chunk < place.chunks.count; ++chunk) {
    uint8_t which;
    present.push_back(
        view.Decode(place.chunks.first + chunk, 1, &which, indices.data(), values.data()) == 1);
  }
  return present;
}

TEST(PayloadTest, P19_WhatWasExtractedIsWhatArrives) {
  Rng rng(13);
  for (uint32_t chunk_size : {1u, 2u, 16u, 50u, 64u, 127u, 960u, 4096u}) {
    for (uint32_t k : {1u, 2u, 3u, 8u, chunk_size / 2, chunk_size - 1, chunk_size}) {
      if (k < 1 || k > chunk_size || (chunk_size > 1000 && k > 8)) continue;
      for (ValueFormat values : kValueFormats) {
        for (uint64_t chunk_count : {0, 1, 3, 17}) {
          const PayloadFormat format = DctFormat(chunk_size, k, values);
          const PayloadPlace place{7, {1000, chunk_count}};
          std::vector<float> m = AdversarialVector(rng, chunk_size, chunk_count);
          std::string payload;
          const Selection sent = Extract(format, place, 1.0f, m, &payload);
          const auto received = DecodePayload(AsBytes(payload), format, place);
          ASSERT_TRUE(received.ok()) << received.status();
          EXPECT_EQ(received->first_chunk, 1000u);
          EXPECT_EQ(received->chunk_count, chunk_count);
          if (values == ValueFormat::kSign) {
            const std::vector<bool> present = Presence(ViewOf(payload, format, place));
            for (size_t i = 0; i < sent.values.size(); ++i) {
              ASSERT_EQ(std::abs(received->values[i]), present[i / k] ? 1.0f : 0.0f);
              if (sent.values[i] == 0) continue;
              ASSERT_EQ(received->values[i], sent.values[i] < 0 ? -1.0f : 1.0f);
            }
          } else {
            ASSERT_EQ(Bits(received->values), Bits(sent.values));
          }
          for (size_t i = 0; i < sent.indices.size(); ++i) {
            if (received->values[i] != 0) {
              ASSERT_EQ(received->indices[i], sent.indices[i]);
            }
          }
        }
      }
    }
  }
}

TEST(PayloadTest, P19_ValuesBecomeWhatThePayloadSays) {
  Rng rng(14);
  for (ValueFormat values : kValueFormats) {
    const PayloadFormat format = DctFormat(64, 8, values);
    std::vector<float> m = AdversarialVector(rng, 64, 100);
    std::string unused;
    Selection selection =
        Extract(DctFormat(64, 8, ValueFormat::kF32), {0, 0, 100}, 1.0f, m, &unused);
    const std::string payload = EncodePayload(format, 0, selection);
    const auto received = DecodePayload(AsBytes(payload), format, {0, 0, 100});
    ASSERT_TRUE(received.ok()) << received.status();
    if (values != ValueFormat::kSign) {
      EXPECT_EQ(Bits(received->values), Bits(selection.values));
    }
  }
}

TEST(PayloadTest, AbsentChunksAreThoseWithoutAnythingToSend) {
  const PayloadFormat formats[] = {
      DctFormat(16, 2, ValueFormat::kF32),    DctFormat(16, 2, ValueFormat::kBf16),
      DctFormat(16, 2, ValueFormat::kInt4),   DctFormat(16, 2, ValueFormat::kOneBit),
      DctFormat(16, 2, ValueFormat::kTwoBit), DctFormat(16, 2, ValueFormat::kSign),
      DctFormat(16, 16, ValueFormat::kF32)};
  for (const PayloadFormat& format : formats) {
    const bool numbers = format.values == ValueFormat::kF32;
    const bool anything = numbers || format.values == ValueFormat::kSign;
    const bool scaled = HasScale(format.values);
    std::vector<float> m(5 * 16, -0.0f);
    m[16 + 3] = 1.0f;                        // chunk 1: something
    m[2 * 16 + 3] = 1e-45f;                  // chunk 2: for f32 and signs only
    m[3 * 16 + 3] = m[3 * 16 + 4] = 1e-20f;  // chunk 3: below the smallest scale
    const std::string payload = PayloadOf(format, {0, 9, 5}, m);
    EXPECT_EQ(Presence(ViewOf(payload, format, {0, 9, 5})),
              (std::vector<bool>{false, true, anything, !scaled, false}));
  }
}

TEST(PayloadTest, BatchesDecodeLikeSingleChunks) {
  Rng rng(15);
  for (ValueFormat values : kValueFormats) {
    for (uint32_t k : {3u, 8u, 20u, 56u}) {
      const PayloadFormat format = DctFormat(64, k, values);
      const PayloadPlace place{3, {100, 90}};
      const std::string payload = PayloadOf(format, place, AdversarialVector(rng, 64, 90));
      const PayloadView view = ViewOf(payload, format, place);
      const Selection all = *DecodePayload(AsBytes(payload), format, place);
      for (int trial = 0; trial < Repetitions(200); ++trial) {
        const uint64_t first = rng.Below(90);
        const int count = 1 + static_cast<int>(rng.Below(std::min<uint64_t>(16, 90 - first)));
        uint8_t chunks[16];
        std::vector<uint16_t> indices(16 * k);
        std::vector<float> decoded(16 * k);
        const int present = view.Decode(100 + first, count, chunks, indices.data(), decoded.data());
        std::vector<float> magnitudes(16);
        std::vector<uint32_t> masks(32), negative(32);
        if (view.has_sign_tiles()) {
          view.DecodeSigns(100 + first, count, ActiveKernels(), masks.data(), negative.data(),
                           magnitudes.data());
        }
        std::vector<uint32_t> said_masks(32), said_negative(32);
        for (size_t i = 0; i < static_cast<size_t>(present) * k; ++i) {
          const size_t at = (first + chunks[i / k]) * k + i % k;
          ASSERT_EQ(Bits({&decoded[i], 1}), Bits({&all.values[at], 1}));
          ASSERT_EQ(indices[i], all.indices[at]);
          const size_t word = size_t{indices[i]} / 32 * 16 + chunks[i / k];
          said_masks[word] |= 1u << (indices[i] % 32);
          if (decoded[i] < 0) said_negative[word] |= 1u << (indices[i] % 32);
          if (view.has_sign_tiles()) {
            ASSERT_EQ(magnitudes[chunks[i / k]], std::fabs(decoded[i]));
          }
        }
        if (view.has_sign_tiles()) {
          ASSERT_EQ(masks, said_masks);
          ASSERT_EQ(negative, said_negative);
        }
      }
    }
  }
}

TEST(PayloadTest, P19_SignsOfZeroAreWhatAllKnow) {
  const PayloadFormat format = DctFormat(16, 8, ValueFormat::kSign);
  std::vector<float> m(16 * 64);
  for (size_t chunk = 0; chunk < 64; ++chunk) m[chunk * 16] = 2.0f;
  const std::string payload = PayloadOf(format, {4, 10, 64}, m);
  const Selection said = *DecodePayload(AsBytes(payload), format, {4, 10, 64});
  int negative = 0;
  for (size_t i = 0; i < said.values.size(); ++i) {
    ASSERT_EQ(std::abs(said.values[i]), 1.0f);
    negative += said.values[i] < 0 ? 1 : 0;
    if (i % 8 == 0) {
      EXPECT_EQ(said.values[i], 1.0f);
    }
  }
  EXPECT_NEAR(negative, 64 * 7 / 2, 50);
  // Wherever the bucket is cut.
  const std::string part = PayloadOf(format, {4, 30, 1}, {m.begin(), m.begin() + 16});
  EXPECT_EQ(DecodePayload(AsBytes(part), format, {4, 30, 1})->values,
            (std::vector<float>{said.values.begin() + 160, said.values.begin() + 168}));
}

TEST(PayloadTest, P19_KnownPositionsNeedNoIndices) {
  Rng rng(16);
  for (Positions positions : {Positions::kRandom, Positions::kStriding, Positions::kSlicing}) {
    const PayloadFormat format{Transform::kNone, 64, 8, ValueFormat::kF32, positions, 77};
    const std::vector<float> m = RandomVector(rng, 64 * 20);
    const std::string payload = PayloadOf(format, {5, 100, 20}, m);
    EXPECT_EQ(payload.size(), 34u + 20 * 8 * 4);
    const Selection said = *DecodePayload(AsBytes(payload), format, {5, 100, 20});
    for (uint64_t chunk = 0; chunk < 20; ++chunk) {
      uint16_t offsets[8];
      KnownPositions(format, 5, 100 + chunk, offsets);
      for (size_t i = 0; i < 8; ++i) {
        ASSERT_EQ(said.indices[chunk * 8 + i], offsets[i]);
        ASSERT_EQ(said.values[chunk * 8 + i], m[chunk * 64 + offsets[i]]);
      }
    }
  }
}

TEST(PayloadTest, HugeValuesAreSentAsTwoToTheHundred) {
  const float most = std::numeric_limits<float>::max();
  for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16}) {
    std::vector<float> m(16);
    m[3] = most;
    m[5] = -2e30f;
    std::string payload;
    const Selection said = Extract(DctFormat(16, 2, values), {0, 0, 1}, 1.0f, m, &payload);
    EXPECT_EQ(said.values, (std::vector<float>{0x1p100f, -0x1p100f}));
    EXPECT_TRUE(DecodePayload(AsBytes(payload), DctFormat(16, 2, values), {0, 0, 1}).ok());
    EXPECT_EQ(m[5], -2e30f + 0x1p100f);  // the rest goes in another round
  }
}

// Whatever the segments, the same bytes.
TEST(PayloadTest, P21_SegmentsChangeNothing) {
  Rng rng(17);
  for (ValueFormat values : kValueFormats) {
    for (uint64_t chunks : {uint64_t{0}, uint64_t{1}, uint64_t{16}, uint64_t{100}}) {
      const PayloadFormat format = DctFormat(32, 3, values);
      const PayloadPlace place{1, {50, chunks}};
      const std::vector<float> m = AdversarialVector(rng, 32, chunks);
      const std::string expected = PayloadOf(format, place, m);
      std::vector<uint16_t> indices(3 * chunks);
      std::vector<float> selected(3 * chunks);
      SelectTopK(m, 32, 3, indices, selected);
      PayloadWriter writer;
      for (int segments = 1; segments <= 9; ++segments) {
        std::string payload = "what was there before";
        writer.Begin(format, place, &payload, segments);
        uint64_t next = 50;
        for (int i = 0; i < segments; ++i) {
          const PayloadPlace run = writer.segment_place(i);
          ASSERT_EQ(run.chunks.first, next);
          next += run.chunks.count;
        }
        ASSERT_EQ(next, 50 + chunks);
        for (int i = segments - 1; i >= 0; --i) {
          const PayloadPlace run = writer.segment_place(i);
          for (uint64_t at = run.chunks.first; at < run.chunks.first + run.chunks.count; ++at) {
            const size_t chunk = at - 50;
            float three[3];
            std::copy_n(selected.data() + 3 * chunk, 3, three);
            writer.segment(i).Add(indices.data() + 3 * chunk, three);
          }
        }
        writer.Finish();
        ASSERT_TRUE(payload == expected) << segments;
      }
    }
  }
}

// The bytes are a contract with peers of other builds: written out by hand, once.
TEST(PayloadTest, LayoutIsPinned) {
  const PayloadFormat format{Transform::kDct, 16, 2, ValueFormat::kOneBit};
  Selection selection{5, 3, {3, 10, 0, 1, 2, 3}, {1.0f, -2.0f, 0.0f, 0.0f, 1.0f, 1.0f}};
  const std::string payload = EncodePayload(format, 0x0102, selection);
  const std::vector<uint8_t> before_crc = {0x49, 0x43, 3, 3, 3, 2, 15, 0, 1, 0,  // magic ... k
                                           3,    0,    0, 0,                     // chunk_count
                                           5,    0,    0, 0, 0, 0, 0,  0,        // first_chunk
                                           2,    1,    0, 0, 0, 0, 0,  0};       // round
  // Chunks 0 and 2 are there. Each: 7 bits of rank (binom(10, 2) + 3 = 48; 3 + 2 = 5), 8 of scale
  // (1.5: code 178; 1: code 176), 2 signs.
  const uint64_t records = (48u | 178u << 7 | 2u << 15) | uint64_t{5u | 176u << 7} << 17;
  std::vector<uint8_t> body = {0x05};
  for (int i = 0; i < 5; ++i) body.push_back(static_cast<uint8_t>(records >> (8 * i)));
  ASSERT_EQ(payload.size(), 34u + body.size());
  EXPECT_EQ(std::vector<uint8_t>(payload.begin(), payload.begin() + 30), before_crc);
  EXPECT_EQ(std::vector<uint8_t>(payload.begin() + 34, payload.end()), body);
  EXPECT_EQ(selection.values, (std::vector<float>{1.5f, -1.5f, 0.0f, 0.0f, 1.0f, 1.0f}));
}

TEST(PayloadTest, ItsPlaceMayBeAskedFor) {
  const PayloadFormat format = DctFormat(16, 1, ValueFormat::kF32);
  const PayloadPlace place{1ull << 40, {1ull << 41, 3}};
  const std::string payload = PayloadOf(format, place, std::vector<float>(48));
  EXPECT_EQ(*PayloadView::PeekPlace(AsBytes(payload)), place);
  EXPECT_EQ(PayloadView::PeekPlace(AsBytes(payload).first(33)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace isthmus
