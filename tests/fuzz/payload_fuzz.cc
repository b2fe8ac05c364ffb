// Payloads of contributions. The input is that of payload_input.h.
//
// scripts/fuzz: -max_len=1024
#include <algorithm>
#include <cmath>

#include "common/compression/tile_masks.h"
#include "common/kernels/simd.h"
#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

void CheckSelection(const PayloadCase<PayloadFormat>& c, const Selection& selection) {
  const uint64_t kept = c.place.chunks.count * c.format.k;
  ISTHMUS_CHECK(selection.first_chunk == c.place.chunks.first);
  ISTHMUS_CHECK(selection.chunk_count == c.place.chunks.count);
  ISTHMUS_CHECK(selection.values.size() == kept);
  for (float value : selection.values) {
    ISTHMUS_CHECK(std::isfinite(value) && std::abs(value) <= 0x1p100f);
  }
  const bool indexed = c.format.k < c.format.chunk_size;
  ISTHMUS_CHECK(selection.indices.size() == (indexed ? kept : 0));
  for (size_t i = 0; i < selection.indices.size(); ++i) {
    ISTHMUS_CHECK(selection.indices[i] < c.format.chunk_size);
  }
}

// Chunk by chunk: what Decode() of many says.
void CheckChunks(const PayloadView& view, const Selection& selection) {
  const PayloadFormat& format = view.format();
  const size_t k = format.k;
  std::vector<uint16_t> indices(k);
  std::vector<float> values(k);
  uint8_t chunk = 0;
  for (uint64_t i = 0; i < view.place().chunks.count; ++i) {
    const uint64_t at = view.place().chunks.first + i;
    const int present = view.Decode(at, 1, &chunk, indices.data(), values.data());
    const auto said = std::span(selection.values).subspan(i * k, k);
    if (present == 0) {
      for (const float value : said) ISTHMUS_CHECK(value == 0);
      continue;
    }
    ISTHMUS_CHECK(chunk == 0 && SameBits(values, said));
    if (k < format.chunk_size) {
      for (size_t j = 0; j < k; ++j) {
        ISTHMUS_CHECK(indices[j] == selection.indices[i * k + j]);
        ISTHMUS_CHECK(j == 0 || indices[j] > indices[j - 1]);
      }
    }
  }
}

// Tile by tile: masks say what indices and values do, and nothing of absent chunks.
void CheckSignTiles(const PayloadView& view, const Selection& selection) {
  const int size = static_cast<int>(view.format().chunk_size);
  const size_t k = view.format().k;
  std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(size) * kTileChunks));
  std::vector<uint32_t> negative(masks.size());
  float magnitudes[kTileChunks];
  for (uint64_t at = 0; at < view.place().chunks.count; at += kTileChunks) {
    const int count =
        static_cast<int>(std::min<uint64_t>(kTileChunks, view.place().chunks.count - at));
    view.DecodeSigns(view.place().chunks.first + at, count, ActiveKernels(), masks.data(),
                     negative.data(), magnitudes);
    for (size_t i = 0; i < static_cast<size_t>(count) * k; ++i) {
      const size_t chunk = i / k, value_at = at * k + i;
      const size_t word = size_t{selection.indices[value_at]} / 32 * kTileChunks + chunk;
      const uint32_t bit = 1u << (selection.indices[value_at] % 32);
      const float value = selection.values[value_at];
      ISTHMUS_CHECK(((masks[word] & bit) != 0) == (magnitudes[chunk] != 0));
      ISTHMUS_CHECK(value ==
                    ((negative[word] & bit) != 0 ? -magnitudes[chunk] : magnitudes[chunk]));
    }
    for (int chunk = 0; chunk < count; ++chunk) {
      size_t chosen = 0;
      ForEachElement(size, static_cast<uint32_t>(chunk), masks.data(), [&](uint16_t) { ++chosen; });
      ISTHMUS_CHECK(chosen == (magnitudes[chunk] == 0 ? 0 : k));
    }
  }
}

void FuzzPayload(const uint8_t* data, size_t size) {
  const PayloadCase<PayloadFormat> c = ReadContribution(Input(data, size));
  if (c.format.has_indices()) IndexCoder::For(c.format.chunk_size, c.format.k);  // kept for ever
  const uint64_t kept = c.place.chunks.count * c.format.k;
  absl::StatusOr<PayloadView> view = absl::UnknownError("");
  {
    const MemoryBound bound(4096);  // the words of a refusal
    view = PayloadView::Parse(AsBytes(c.payload), c.format, c.place);
  }
  if (!view.ok()) return CheckRefusal(view.status());
  CountAccepted();
  ISTHMUS_CHECK(*PayloadView::PeekPlace(AsBytes(c.payload)) == c.place);
  absl::StatusOr<Selection> selection = absl::UnknownError("");
  {
    const uint64_t batch = PayloadView::kBatch * c.format.k;
    const MemoryBound bound((kept + batch) * (sizeof(float) + sizeof(uint16_t)) + 4096);
    selection = DecodePayload(AsBytes(c.payload), c.format, c.place);
  }
  ISTHMUS_CHECK(selection.ok());
  CheckSelection(c, *selection);
  if (view->has_sign_tiles()) CheckSignTiles(*view, *selection);
  CheckChunks(*view, *selection);
  // Encoded again it says the same. (There may be several scales for the same values, values of
  // zero that need not have been sent, and levels of 2 bits whose mean square asks for other
  // levels.)
  Selection copy = *selection;
  const std::string again = EncodePayload(c.format, c.place.round, copy);
  const auto decoded = DecodePayload(AsBytes(again), c.format, c.place);
  ISTHMUS_CHECK(decoded.ok());
  const bool exact =
      c.format.values != ValueFormat::kInt4 && c.format.values != ValueFormat::kTwoBit;
  ISTHMUS_CHECK(!exact || SameBits(decoded->values, selection->values));
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzPayload(data, size);
  return 0;
}
