#include "server/merge/merge_bucket.h"

#include "common/base/check.h"
#include "common/compression/merge.h"
#include "common/compression/update_payload.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {
namespace {

// Quantizing again loses something, so whether it is done may not depend on what was sent, nor on
// who receives it: only on how many contributed, of the size that most have.
bool ForwardsByCount(const UpdateFormat& merged, uint64_t groups) {
  if (groups == 0) return false;
  const auto bits = [](ValueFormat values) {
    return static_cast<uint64_t>(ValueBits(values)) * kBlock + 8;
  };
  return (groups - 1) * bits(merged.contribution.values) <= bits(*merged.requantized);
}

}  // namespace

bool ForwardContributions(const RoundFormats& formats, const PayloadPlace& place,
                          std::span<const std::vector<StoredPart>> parts) {
  const UpdateFormat merged = formats.MergedAt(Round(place.round));
  if (merged.requantized) return ForwardsByCount(merged, parts.size());
  uint64_t bytes = 0;
  for (const std::vector<StoredPart>& group : parts) {
    for (const StoredPart& part : group) bytes += part.payload.size();
  }
  const uint64_t groups = parts.size();
  if (groups == 0) return false;
  return bytes / groups * (groups - 1) <= SmallestUpdateBytes(merged, place.chunks.count);
}

std::string MergeContributions(const RoundFormats& formats, const PayloadPlace& place,
                               std::span<const Contributor> contributors,
                               std::span<const std::vector<StoredPart>> parts) {
  ISTHMUS_CHECK(contributors.size() == parts.size());
  if (contributors.empty()) return "";
  const Round round(place.round);
  std::vector<uint64_t> samples;
  for (const Contributor& contributor : contributors) samples.push_back(contributor.samples);
  const std::vector<float> weights = MergeWeights(samples);
  std::vector<std::vector<PayloadView>> views(parts.size());
  std::vector<MergeInput> inputs;
  for (size_t i = 0; i < parts.size(); ++i) {
    const PayloadFormat format = formats.FormatAt(round, contributors[i].group);
    for (const StoredPart& part : parts[i]) {
      auto view =
          PayloadView::ParseTrusted(std::as_bytes(std::span(part.payload)), format, part.place);
      ISTHMUS_CHECK(view.ok());  // it was when it arrived
      views[i].push_back(*std::move(view));
    }
    inputs.push_back({weights[i], views[i]});
  }
  return EncodeUpdate(formats.MergedAt(round), place, inputs);
}

}  // namespace isthmus
