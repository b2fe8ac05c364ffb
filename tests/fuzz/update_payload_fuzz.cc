// Payloads of updates. The input is that of payload_input.h.
//
// scripts/fuzz: -max_len=1024
#include <span>
#include <vector>

#include "common/kernels/simd.h"
#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

// Where an update carries directions as they are, a group that sends them makes another update of
// the same effect.
void CheckSameEffect(const PayloadCase<UpdateFormat>& c, const std::vector<float>& direction) {
  PayloadFormat all = c.format.contribution;
  all.k = all.chunk_size;
  all.positions = Positions::kChosen;
  all.values = ValueFormat::kF32;
  const UpdateFormat format{all, MergeRule::kMean, c.format.sign};
  Selection selection{c.place.chunks.first, c.place.chunks.count, {}, direction};
  const std::string payload = EncodePayload(all, c.place.round, selection);
  const PayloadView part = PayloadView::Parse(AsBytes(payload), all, c.place).value();
  const MergeInput input{1.0f, {&part, 1}};
  const std::string update = EncodeUpdate(format, c.place, {&input, 1});
  const auto view = UpdateView::Parse(AsBytes(update), format, c.place);
  ISTHMUS_CHECK(view.ok());
  DirectionScratch scratch(format, ActiveKernels());
  std::vector<float> again(direction.size(), 7.0f);
  view->Direction(c.place.chunks.first, again, nullptr, scratch);
  for (size_t i = 0; i < again.size(); ++i) ISTHMUS_CHECK(again[i] == direction[i]);
}

void FuzzUpdatePayload(const uint8_t* data, size_t size) {
  const PayloadCase<UpdateFormat> c = ReadUpdate(Input(data, size));
  absl::StatusOr<UpdateView> view = absl::UnknownError("");
  {
    const MemoryBound bound(c.place.chunks.count * 2 * sizeof(uint64_t) + 4096);
    view = UpdateView::Parse(AsBytes(c.payload), c.format, c.place);
  }
  if (!view.ok()) return CheckRefusal(view.status());
  CountAccepted();
  ISTHMUS_CHECK(!view->needs_own());
  const uint32_t chunk_size = c.format.contribution.chunk_size;
  DirectionScratch scratch(c.format, ActiveKernels());
  std::vector<float> direction(c.place.chunks.count * chunk_size, 7.0f);
  view->Direction(c.place.chunks.first, direction, nullptr, scratch);
  CheckDirection(c.format, true, direction);
  for (uint64_t i = 0; i < c.place.chunks.count; ++i) {  // the same, asked for in pieces
    std::vector<float> chunk(chunk_size, 7.0f);
    view->Direction(c.place.chunks.first + i, chunk, nullptr, scratch);
    ISTHMUS_CHECK(SameBits(chunk, std::span(direction).subspan(i * chunk_size, chunk_size)));
  }
  bool small = true;  // larger values are not sent
  for (const float u : direction) small &= std::abs(u) <= 0x1p100f;
  if (c.format.contribution.transform == Transform::kNone && small) CheckSameEffect(c, direction);
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzUpdatePayload(data, size);
  return 0;
}
