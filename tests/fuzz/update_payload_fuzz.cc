// Payloads of updates. The input is that of payload_input.h.
#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <vector>

#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(a, b, {}, std::bit_cast<uint32_t, float>,
                            std::bit_cast<uint32_t, float>);
}

// Where an update carries directions as they are, they make another update of the same effect.
void CheckSameEffect(const PayloadCase<UpdateFormat>& c, const std::vector<float>& direction) {
  MergedBucket merged{c.first_chunk, c.chunk_count, direction, {}};
  for (uint64_t chunk = 0; chunk < c.chunk_count; ++chunk) {
    const float* begin = direction.data() + chunk * c.format.chunk_size;
    const bool any =
        std::any_of(begin, begin + c.format.chunk_size, [](float u) { return u != 0; });
    merged.present.push_back(any ? 1 : 0);
  }
  const std::string update = EncodeUpdate(c.format, merged);
  const auto view = UpdateView::Parse(AsBytes(update), c.format, c.first_chunk, c.chunk_count);
  ISTHMUS_CHECK(view.ok());
  std::vector<float> again(direction.size(), 7.0f);
  view->Direction(c.first_chunk, again);
  ISTHMUS_CHECK(SameBits(again, direction));
}

void FuzzUpdatePayload(const uint8_t* data, size_t size) {
  const PayloadCase<UpdateFormat> c = ReadUpdate(Input(data, size));
  absl::StatusOr<UpdateView> view = absl::UnknownError("");
  {
    const MemoryBound bound(c.chunk_count * 2 * sizeof(uint64_t) + 4096);
    view = UpdateView::Parse(AsBytes(c.payload), c.format, c.first_chunk, c.chunk_count);
  }
  if (!view.ok()) return CheckRefusal(view.status());
  CountAccepted();
  std::vector<float> direction(c.chunk_count * c.format.chunk_size, 7.0f);
  view->Direction(c.first_chunk, direction);
  for (float u : direction) {
    ISTHMUS_CHECK(!c.format.sign || u == 0 || std::abs(u) == 1);
    // The inverse transform of finite coefficients may overflow; without it nothing may.
    ISTHMUS_CHECK(c.format.transform == Transform::kDct || std::isfinite(u));
  }
  if (c.chunk_count > 1) {  // the same, asked for in pieces
    std::vector<float> chunk(c.format.chunk_size);
    const uint64_t last = c.chunk_count - 1;
    view->Direction(c.first_chunk + last, chunk);
    ISTHMUS_CHECK(SameBits(chunk, std::span(direction).last(chunk.size())));
  }
  if (c.format.transform == Transform::kNone) CheckSameEffect(c, direction);
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzUpdatePayload(data, size);
  return 0;
}
