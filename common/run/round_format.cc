#include "common/run/round_format.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/run/run_spec.h"

namespace isthmus {
namespace {

Positions PositionsOf(Scheme scheme) {
  switch (scheme) {
    case Scheme::kRandom:
      return Positions::kRandom;
    case Scheme::kStriding:
      return Positions::kStriding;
    case Scheme::kSlicing:
      return Positions::kSlicing;
    default:
      return Positions::kChosen;
  }
}

}  // namespace

RoundFormats::RoundFormats(const RunSpec& run)
    : contribution_{.transform =
                        run.scheme == Scheme::kFlexDemo ? Transform::kDct : Transform::kNone,
                    .positions = PositionsOf(run.scheme),
                    .seed = run.seed},
      merge_(run.merge),
      sign_(run.sign),
      format_(run.format) {}

const RoundFormat& RoundFormats::At(Round /*round*/) const { return format_; }

PayloadFormat RoundFormats::FormatAt(Round round, GroupId group) const {
  PayloadFormat format = contribution_;
  format.chunk_size = At(round).chunk_size;
  const GroupFormat& its = At(round).of(group);
  format.k = its.k;
  format.values = its.values;
  return format;
}

UpdateFormat RoundFormats::MergedAt(Round round) const {
  const RoundFormat& format = At(round);
  UpdateFormat merged{.contribution = contribution_, .merge = merge_, .sign = sign_};
  merged.contribution.chunk_size = format.chunk_size;
  merged.contribution.k = format.all.k;
  merged.contribution.values = format.all.values;
  for (const auto& [group, own] : format.own) {
    if (own == format.all) continue;
    merged.uniform = false;
    merged.contribution.k = std::max(merged.contribution.k, own.k);
  }
  return merged;
}

}  // namespace isthmus
