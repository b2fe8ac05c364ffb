#include "common/run/round_format.h"

#include <algorithm>
#include <iterator>

#include "common/base/check.h"
#include "common/run/run_spec.h"

namespace isthmus {
namespace {

Positions PositionsOf(SelectionKind selection) {
  switch (selection) {
    case SelectionKind::kRandom:
      return Positions::kRandom;
    case SelectionKind::kStriding:
      return Positions::kStriding;
    case SelectionKind::kSlicing:
      return Positions::kSlicing;
    default:
      return Positions::kChosen;
  }
}

// Of local steps, where all are sent in few bits: a scale for each block, and an update of many
// groups in a finer format of the same kind (P20).
ValueFormat Finer(ValueFormat values) {
  switch (values) {
    case ValueFormat::kOneBit:
      return ValueFormat::kTwoBit;
    case ValueFormat::kTwoBit:
      return ValueFormat::kInt4;
    default:
      return values;
  }
}

}  // namespace

RoundFormats::RoundFormats(const RunSpec& run)
    : contribution_{.transform = SelectionOf(run) == SelectionKind::kDct ? Transform::kDct
                                                                         : Transform::kNone,
                    .positions = PositionsOf(SelectionOf(run)),
                    .seed = run.seed},
      merge_(run.merge),
      sign_(run.sign),
      blocks_(run.scheme == Scheme::kLocal && run.selection == SelectionKind::kDense),
      formats_{{Round(0), run.format}} {}

void RoundFormats::Change(const FormatChange& change) {
  if (change.from <= last()) {
    ISTHMUS_CHECK(At(change.from) == change.format);
    return;
  }
  formats_.emplace(change.from, change.format);
  if (formats_.size() > kMost) formats_.erase(formats_.begin());
}

void RoundFormats::Forget(Round before) {
  formats_.try_emplace(before, At(before));
  formats_.erase(formats_.begin(), formats_.find(before));
}

std::vector<FormatChange> RoundFormats::From(Round round) const {
  std::vector<FormatChange> known{{round, At(round)}};
  for (auto at = formats_.upper_bound(round); at != formats_.end(); ++at) {
    known.push_back({at->first, at->second});
  }
  return known;
}

const RoundFormat& RoundFormats::At(Round round) const {
  const auto after = formats_.upper_bound(round);
  ISTHMUS_CHECK(after != formats_.begin());
  return std::prev(after)->second;
}

PayloadFormat RoundFormats::FormatAt(Round round, GroupId group) const {
  PayloadFormat format = contribution_;
  format.chunk_size = At(round).chunk_size;
  const GroupFormat& its = At(round).of(group);
  format.k = its.k;
  format.values = its.values;
  format.block_scales = blocks_ && HasScale(its.values);
  return format;
}

UpdateFormat RoundFormats::MergedAt(Round round) const {
  const RoundFormat& format = At(round);
  UpdateFormat merged{.contribution = contribution_, .merge = merge_, .sign = sign_};
  merged.contribution.chunk_size = format.chunk_size;
  merged.contribution.k = format.all.k;
  merged.contribution.values = format.all.values;
  if (blocks_ && HasScale(format.all.values)) {
    merged.contribution.block_scales = true;
    merged.requantized = Finer(format.all.values);
  }
  for (const auto& [group, own] : format.own) {
    if (own == format.all) continue;
    merged.uniform = false;
    merged.contribution.k = std::max(merged.contribution.k, own.k);
  }
  return merged;
}

}  // namespace isthmus
