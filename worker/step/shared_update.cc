#include "worker/step/shared_update.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <cstddef>
#include <span>
#include <utility>

namespace isthmus {

SharedUpdate::SharedUpdate(std::shared_ptr<const ReceivedUpdate> received,
                           std::shared_ptr<const UpdateReader> reader)
    : received_(std::move(received)), reader_(std::move(reader)) {}

absl::StatusOr<const UpdateView*> SharedUpdate::Parsed(const Layout& layout,
                                                       const Buckets& buckets) {
  MutexLock lock(&mu_);
  if (!view_.has_value()) view_ = Parse(layout, buckets);
  if (!view_->ok()) return view_->status();
  return &**view_;
}

absl::StatusOr<UpdateView> SharedUpdate::Parse(const Layout& layout, const Buckets& buckets) const {
  if (header().scalars.size() != layout.parameter_groups()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "update ", header().sequence.value(), ": expected scalars of ", layout.parameter_groups(),
        " parameter groups, got ", header().scalars.size()));
  }
  const Round round = header().round;
  const ChunkRun chunks = reader_->formats.ChunksAt(round, buckets.bucket(header().bucket));
  const PayloadPlace place{round.value(), chunks};
  if (received_->payload.empty()) return FromContributions(place);
  return UpdateView::Parse(std::as_bytes(std::span(received_->payload)),
                           reader_->formats.MergedAt(round), place);
}

absl::StatusOr<UpdateView> SharedUpdate::FromContributions(const PayloadPlace& place) const {
  const UpdateFormat merged = reader_->formats.MergedAt(header().round);
  const Member self = reader_->self;
  const std::vector<Contributor>& contributors = header().contributors;
  const auto wrong = [&](const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat("update ", header().sequence.value(), ": ", what));
  };
  std::vector<uint64_t> samples;
  for (const Contributor& contributor : contributors) samples.push_back(contributor.samples);
  const std::vector<float> weights = MergeWeights(samples);
  std::vector<EncodedContribution> encoded(contributors.size());
  int own = UpdateView::kNotHere;
  for (size_t i = 0; i < contributors.size(); ++i) {
    encoded[i].weight = weights[i];
    encoded[i].format = reader_->formats.FormatAt(header().round, contributors[i].group);
    if (contributors[i].group == self.group && contributors[i].incarnation == self.incarnation) {
      own = static_cast<int>(i);
    }
  }
  // A run that exchanges nothing applies what is its own, and nothing else.
  if (!reader_->exchanges) {
    if (own == UpdateView::kNotHere) encoded.clear();
    if (own != UpdateView::kNotHere) encoded.assign(1, EncodedContribution{});
    return UpdateView::FromContributions(encoded, own == UpdateView::kNotHere ? own : 0, merged,
                                         place);
  }
  for (const ReceivedUpdate::Contribution& contribution : received_->contributions) {
    const size_t i = contribution.contributor;
    if (i >= contributors.size() || static_cast<int>(i) == own || !encoded[i].parts.empty()) {
      return wrong(absl::StrCat("contribution of contributor ", i, " of ", contributors.size(),
                                ": expected each but this group's own once"));
    }
    for (const std::string& part : contribution.parts) {
      encoded[i].parts.push_back(std::as_bytes(std::span(part)));
    }
  }
  return UpdateView::FromContributions(encoded, own, merged, place);
}

}  // namespace isthmus
