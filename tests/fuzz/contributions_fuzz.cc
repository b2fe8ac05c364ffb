// Updates that are left to the receiver to merge.
//
//   input := format:byte place own:byte contributors:byte contributor*
//   contributor := weight:byte parts:byte part*
//   part := flags:byte first_chunk:number chunk_count:number size:number payload
//
// `place` is payload_input.h's; a part's first chunk is counted from the bucket's.
//
// scripts/fuzz: -max_len=1024
#include <vector>

#include "common/kernels/simd.h"
#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

constexpr int kMaxContributors = 5;
constexpr int kMaxParts = 5;

// True if `parts`, each a valid payload, are the bucket's chunks once each.
bool Covers(const std::vector<std::string>& parts, const PayloadPlace& place) {
  std::vector<int> said(place.chunks.count);
  for (const std::string& part : parts) {
    const PayloadPlace at = PayloadView::PeekPlace(AsBytes(part)).value();
    if (at.round != place.round) return false;
    for (uint64_t i = 0; i < at.chunks.count; ++i) {
      const uint64_t chunk = at.chunks.first + i - place.chunks.first;
      if (chunk >= place.chunks.count) return false;
      ++said[chunk];
    }
  }
  return std::ranges::all_of(said, [](int times) { return times == 1; });
}

void FuzzContributions(const uint8_t* data, size_t size) {
  Input input(data, size);
  const UpdateFormat format = kUpdateFormats[input.Byte() % std::size(kUpdateFormats)];
  const PayloadFormat& contribution = format.contribution;
  if (contribution.has_indices()) IndexCoder::For(contribution.chunk_size, contribution.k);
  const PayloadPlace place = ReadPlace(input);
  const int own_at = input.Byte() % (kMaxContributors + 1);
  const int count = input.Byte() % (kMaxContributors + 1);
  std::vector<std::vector<std::string>> parts(static_cast<size_t>(count));
  std::vector<EncodedContribution> contributions(static_cast<size_t>(count));
  size_t total_parts = 0;
  for (size_t c = 0; c < parts.size(); ++c) {
    contributions[c].weight = static_cast<float>(input.Byte()) / 64.0f;
    parts[c].resize(input.Byte() % (kMaxParts + 1));
    total_parts += parts[c].size();
    for (std::string& part : parts[c]) {
      const uint8_t flags = input.Byte();
      PayloadPlace at{place.round, {0, 0}};
      at.chunks.first = place.chunks.first + input.Number() % (kMaxChunks + 1);
      at.chunks.count = input.Number() % (kMaxChunks + 1);
      part = input.Bytes(input.Number());
      FixContribution(flags, contribution, at, part);
      contributions[c].parts.push_back(AsBytes(part));
    }
  }
  const int own = own_at < count ? own_at : UpdateView::kNotHere;
  absl::StatusOr<UpdateView> view = absl::UnknownError("");
  {
    // Vectors that grow hold what they had besides.
    const MemoryBound bound(4 * (total_parts + 1) * sizeof(PayloadView) + 8192);
    view = UpdateView::FromContributions(contributions, own, format, place);
  }
  if (!view.ok()) return CheckRefusal(view.status());
  CountAccepted();
  ISTHMUS_CHECK(view->encoding() == UpdateEncoding::kContributions);
  ISTHMUS_CHECK(view->needs_own() == (own != UpdateView::kNotHere));
  for (size_t c = 0; c < parts.size(); ++c) {
    ISTHMUS_CHECK(static_cast<int>(c) == own || Covers(parts[c], place));
  }
  // The receiver's own says nothing.
  Selection nothing{place.chunks.first,
                    place.chunks.count,
                    {},
                    std::vector<float>(place.chunks.count * contribution.k)};
  for (size_t i = 0; contribution.k < contribution.chunk_size && i < nothing.values.size(); ++i) {
    nothing.indices.push_back(static_cast<uint16_t>(i % contribution.k));
  }
  const std::string own_payload = EncodePayload(contribution, place.round, nothing);
  const PayloadView own_view =
      PayloadView::Parse(AsBytes(own_payload), contribution, place).value();
  const PayloadView* own_or_null = view->needs_own() ? &own_view : nullptr;
  DirectionScratch scratch(format, ActiveKernels());
  std::vector<float> direction(place.chunks.count * contribution.chunk_size, 7.0f);
  view->Direction(place.chunks.first, direction, own_or_null, scratch);
  CheckDirection(format, false, direction);
  // The update that a coordinator would have encoded, bit for bit.
  std::vector<std::vector<PayloadView>> views(parts.size());
  std::vector<MergeInput> inputs;
  for (size_t c = 0; c < parts.size(); ++c) {
    if (static_cast<int>(c) == own) {
      views[c].push_back(own_view);
    } else {
      for (const std::string& part : parts[c]) {
        const PayloadPlace at = PayloadView::PeekPlace(AsBytes(part)).value();
        views[c].push_back(PayloadView::Parse(AsBytes(part), contribution, at).value());
      }
    }
    inputs.push_back({contributions[c].weight, views[c]});
  }
  const std::string encoded = EncodeUpdate(format, place, inputs);
  const auto decoded = UpdateView::Parse(AsBytes(encoded), format, place);
  ISTHMUS_CHECK(decoded.ok());
  std::vector<float> again(direction.size(), 7.0f);
  decoded->Direction(place.chunks.first, again, nullptr, scratch);
  ISTHMUS_CHECK(SameBits(again, direction));
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzContributions(data, size);
  return 0;
}
