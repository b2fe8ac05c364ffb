#include "common/run/round_format.h"

#include <algorithm>

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
      format_(run.format) {}

const RoundFormat& RoundFormats::At(Round /*round*/) const { return format_; }

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
