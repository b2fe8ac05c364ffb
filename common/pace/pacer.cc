#include "common/pace/pacer.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/check.h"

namespace isthmus {
namespace {

bool SameApartFromSites(RoundFormat one, const RoundFormat& other) {
  one.own = other.own;
  return one == other;
}

// Not while it is late.
bool MoreOfTheLate(const std::vector<PacedSite>& sites, const Prediction& now,
                   const Prediction& then) {
  for (size_t site = 0; site < sites.size(); ++site) {
    if (sites[site].late && then.bytes.up[site] > now.bytes.up[site]) return true;
  }
  return false;
}

bool Known(const PacedSite& site) {
  return site.measured && site.compute > absl::ZeroDuration() && site.path.up > 0 &&
         site.path.down > 0 && site.path.round_trip < absl::InfiniteDuration();
}

}  // namespace

BestPlan BestOf(const std::vector<Prediction>& predictions, double target,
                std::optional<size_t> kept, double slack) {
  ISTHMUS_CHECK(!predictions.empty());
  const auto within = [&](const Prediction& p) {
    const bool is_kept = kept && &p == &predictions[*kept];
    return p.cost.ratio <= target + (is_kept ? slack : 0);
  };
  BestPlan best{.target_met = std::ranges::any_of(predictions, within)};
  const Prediction* soonest = nullptr;
  for (const Prediction& prediction : predictions) {
    if (best.target_met && !within(prediction)) continue;
    if (soonest == nullptr || prediction.time < soonest->time) soonest = &prediction;
  }
  best.plan = static_cast<size_t>(soonest - predictions.data());
  return best;
}

const char* Name(PaceReason reason) {
  switch (reason) {
    case PaceReason::kUnmeasured:
      return "unmeasured";
    case PaceReason::kFrozen:
      return "frozen";
    case PaceReason::kBest:
      return "best";
    case PaceReason::kNotWorthIt:
      return "not worth it";
    case PaceReason::kTooSoon:
      return "too soon";
    case PaceReason::kRatio:
      return "ratio";
    case PaceReason::kTime:
      return "time";
    case PaceReason::kLate:
      return "late";
    case PaceReason::kScheduled:
      return "scheduled";
  }
  return "unknown";
}

Pacer::Pacer(RunSpec run, std::vector<Plan> plans, const RoundFormat& present, uint64_t parameters,
             Options options)
    : run_(std::move(run)),
      plans_(std::move(plans)),
      parameters_(parameters),
      options_(options),
      plan_(PlanOf(present, plans_)),
      present_(present) {}

Prediction Pacer::PredictPresent(const std::vector<PacedSite>& sites) const {
  return PredictFormat(run_, plans_[plan_], present_, parameters_, sites);
}

// The exchange of the present plan took at most what jobs waited, and went on for meanwhile. If
// that is much less than it should have been, it is the rates that are wrong.
std::vector<PacedSite> Pacer::AsFastAsTheyAre(const std::vector<PacedSite>& sites) const {
  constexpr double kMuchLess = 0.7, kMostTimes = 64;
  std::vector<PacedSite> faster = sites;
  absl::Duration took;
  for (PacedSite& site : faster) {
    if (!site.waited) return sites;
    took = std::max(took, *site.waited + present_.overlap * site.compute);
    site.path.up = site.path.down = std::numeric_limits<double>::infinity();
  }
  const absl::Duration expected = PredictPresent(sites).exchange;
  if (took >= kMuchLess * expected) return sites;
  const absl::Duration delays = PredictPresent(faster).exchange;
  const double least = absl::ToDoubleSeconds(expected - delays) / kMostTimes;
  const double times = absl::ToDoubleSeconds(expected - delays) /
                       std::max(absl::ToDoubleSeconds(took - delays), least);
  for (size_t i = 0; i < sites.size() && times > 1; ++i) {
    faster[i].path.up = times * sites[i].path.up;
    faster[i].path.down = times * sites[i].path.down;
  }
  return times > 1 ? faster : sites;
}

PaceDecision Pacer::Decide(const std::vector<PacedSite>& measured) {
  ++since_change_;
  PaceDecision decision{.plan = plan_, .format = present_};
  const bool known = !measured.empty() && std::ranges::all_of(measured, Known);
  if (!known) return decision;
  const std::vector<PacedSite> sites = AsFastAsTheyAre(measured);
  waits_known_ =
      std::ranges::all_of(measured, [](const PacedSite& site) { return site.waited.has_value(); });
  waits_told_ |= waits_known_;
  for (const Plan& plan : plans_) {
    decision.predictions.push_back(Predict(run_, plan, parameters_, sites, &present_));
  }
  // What there is beside what there may be: links that have changed may have others send less.
  std::vector<Prediction> choices = decision.predictions;
  choices.push_back(PredictPresent(sites));
  const Prediction& now = choices.back();
  const auto [chosen, target_met] =
      BestOf(choices, options_.target, choices.size() - 1, options_.slack);
  size_t best = chosen;
  decision.target_met = target_met;
  // What an exchange of the same plan takes by the rates as they were measured tells sites apart,
  // and no change of plan does.
  const absl::Duration exchange =
      PredictFormat(run_, plans_[0], plans_[0].format, parameters_, measured).exchange;
  const double times =
      at_change_ > absl::ZeroDuration() ? absl::FDivDuration(exchange, at_change_) : 1.0;
  if (std::max(times, 1 / times) >= options_.other_sites) {
    before_.clear();
    dwell_ = std::min(dwell_, options_.dwell);
  }
  decision.reason = WhyNot(now, choices[best]);
  if (MoreOfTheLate(sites, now, choices[best])) decision.reason = PaceReason::kTooSoon;
  decision.changed = decision.reason == PaceReason::kRatio || decision.reason == PaceReason::kTime;
  if (const auto less = LessOfTheLate(sites, now, decision.predictions);
      less && !decision.changed) {
    best = *less;
    decision.reason = PaceReason::kLate;
    decision.changed = true;
  }
  decision.expected = now;
  if (decision.changed) {
    decision.expected = choices[best];
    Change(best, choices[best].format);
    at_change_ = exchange;
  }
  decision.plan = plan_;
  decision.format = present_;
  return decision;
}

PaceReason Pacer::WhyNot(const Prediction& now, const Prediction& then) const {
  if (then.format == now.format) return PaceReason::kBest;
  if (frozen_) return PaceReason::kFrozen;
  const double allowed = options_.target + options_.slack;
  const bool ratio = now.cost.ratio > allowed && then.cost.ratio <= options_.target;
  // Who sends less is changed for less: nothing is converted, and little is to be had.
  const double worth =
      SameApartFromSites(then.format, now.format) ? options_.worth_of_sites : options_.worth;
  if (!ratio && then.time > (1 - worth) * now.time) return PaceReason::kNotWorthIt;
  const bool in_the_dark = waits_told_ && !waits_known_ && since_change_ < 2 * options_.dwell;
  if (since_change_ < dwell_ || (dwell_ > 0 && in_the_dark)) return PaceReason::kTooSoon;
  return ratio ? PaceReason::kRatio : PaceReason::kTime;
}

std::optional<size_t> Pacer::LessOfTheLate(const std::vector<PacedSite>& sites,
                                           const Prediction& now,
                                           const std::vector<Prediction>& predictions) const {
  const bool late = std::ranges::any_of(sites, &PacedSite::late);
  // It takes some rounds until what was decided crosses the wire.
  if (!late || frozen_ || (dwell_ > 0 && since_change_ < options_.dwell)) return std::nullopt;
  std::optional<size_t> soonest;
  for (size_t plan = 0; plan < predictions.size(); ++plan) {
    bool less = true;
    for (size_t site = 0; site < sites.size(); ++site) {
      less &= !sites[site].late || predictions[plan].bytes.up[site] < now.bytes.up[site];
    }
    if (less && (!soonest || predictions[plan].time < predictions[*soonest].time)) soonest = plan;
  }
  return soonest;
}

void Pacer::Change(size_t to, const RoundFormat& format) {
  const bool goes_back = before_.contains(to);
  dwell_ =
      goes_back ? std::min(2 * dwell_, options_.longest_dwell) : std::max(dwell_, options_.dwell);
  before_.insert(plan_);
  plan_ = to;
  present_ = format;
  since_change_ = 0;
}

}  // namespace isthmus
