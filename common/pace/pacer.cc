#include "common/pace/pacer.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/base/check.h"
#include "common/pace/schemes.h"

namespace isthmus {
namespace {

// Between two numbers of local steps that there are figures for, what is learned goes by their
// ratio.
double Between(uint32_t every, const Plan& less, const Plan& more) {
  const double from = std::log(less.format.every.steps), to = std::log(more.format.every.steps);
  const double share = (std::log(every) - from) / (to - from);
  return less.steps + share * (more.steps - less.steps);
}

// Enough of them that the next one differs by a third or less in what crosses.
std::vector<Plan> WithThoseBetween(const std::vector<Plan>& known, uint32_t overlap) {
  std::vector<Plan> plans;
  for (size_t i = 0; i + 1 < known.size(); ++i) {
    const uint32_t until = known[i + 1].format.every.steps;
    for (uint32_t every = known[i].format.every.steps; every < until;
         every = std::max(every + 1, every * 4 / 3)) {
      plans.push_back(known[i]);
      plans.back().format.every.steps = every;
      plans.back().format.overlap = std::min(overlap, every);
      plans.back().steps = Between(every, known[i], known[i + 1]);
    }
  }
  plans.push_back(known.back());
  return plans;
}

bool Known(const PacedSite& site) {
  return site.measured && site.compute > absl::ZeroDuration() && site.path.up > 0 &&
         site.path.down > 0 && site.path.round_trip < absl::InfiniteDuration();
}

}  // namespace

std::vector<Plan> PlansOf(const RunSpec& run) {
  std::vector<Plan> known;
  const bool by_steps = run.format.every.steps > 0;
  for (const KnownScheme& scheme : KnownSchemes()) {
    if (scheme.run.scheme != run.scheme || !by_steps) continue;
    RunSpec paced = run;
    paced.format.chunk_size = scheme.run.format.chunk_size;
    paced.format.all.k = scheme.run.format.all.k;
    paced.format.every = scheme.run.format.every;
    paced.format.overlap = std::min(run.format.overlap, paced.format.every.steps);
    if (!Validate(paced).ok() || !CheckChange(run, run.format, paced.format).ok()) continue;
    known.push_back({paced.format, scheme.steps});
  }
  const bool paced = run.scheme == Scheme::kFlexDemo || run.scheme == Scheme::kLocal;
  if (!paced || known.empty()) return {{run.format, 1.0}};
  return run.scheme == Scheme::kLocal ? WithThoseBetween(known, run.format.overlap) : known;
}

absl::Status CheckPaced(const RunSpec& run) {
  if (PlansOf(run).size() > 1) return absl::OkStatus();
  const bool paced = run.scheme == Scheme::kFlexDemo || run.scheme == Scheme::kLocal;
  return absl::InvalidArgumentError(
      absl::StrCat("pace: expected ",
                   paced ? "a format that others may follow, of what there are figures for "
                           "(docs/schemes.md): parts "
                           "of chunks, or a number of steps"
                         : "scheme flexdemo or local",
                   ", got scheme ", Name(run.scheme)));
}

size_t PlanOf(const RoundFormat& format, std::vector<Plan>& plans) {
  ISTHMUS_CHECK(!plans.empty());
  const auto same = std::ranges::find(plans, format, &Plan::format);
  if (same != plans.end()) return static_cast<size_t>(same - plans.begin());
  const double most = std::ranges::max_element(plans, {}, &Plan::steps)->steps;
  plans.insert(plans.begin(), {format, most});
  return 0;
}

Prediction Predict(const RunSpec& run, const Plan& plan, uint64_t parameters,
                   const std::vector<PacedSite>& sites) {
  RunSpec planned = run;
  planned.format = plan.format;
  Prediction prediction{.bytes =
                            BytesOfRound(planned, parameters, static_cast<uint32_t>(sites.size()))};
  std::vector<Path> paths;
  absl::Duration compute;
  for (const PacedSite& site : sites) {
    paths.push_back(site.path);
    compute = std::max(compute, site.compute);
  }
  for (const Path& path : paths) {
    prediction.exchange =
        std::max(prediction.exchange, ExchangeTime(prediction.bytes, paths, path));
  }
  const uint32_t period = std::max(1u, plan.format.every.steps);
  prediction.cost = CostOfStep(compute, prediction.exchange, period, plan.format.overlap);
  prediction.time = prediction.cost.step * plan.steps;
  return prediction;
}

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
  }
  return "unknown";
}

Pacer::Pacer(RunSpec run, std::vector<Plan> plans, size_t first, uint64_t parameters,
             Options options)
    : run_(std::move(run)),
      plans_(std::move(plans)),
      parameters_(parameters),
      options_(options),
      plan_(first) {
  ISTHMUS_CHECK(first < plans_.size());
}

// The exchange of the present plan took at most what jobs waited, and went on for meanwhile. If
// that is much less than it should have been, it is the rates that are wrong.
std::vector<PacedSite> Pacer::AsFastAsTheyAre(const std::vector<PacedSite>& sites) const {
  constexpr double kMuchLess = 0.7, kMostTimes = 64;
  std::vector<PacedSite> faster = sites;
  absl::Duration took;
  for (PacedSite& site : faster) {
    if (!site.waited) return sites;
    took = std::max(took, *site.waited + plans_[plan_].format.overlap * site.compute);
    site.path.up = site.path.down = std::numeric_limits<double>::infinity();
  }
  const absl::Duration expected = Predict(run_, plans_[plan_], parameters_, sites).exchange;
  if (took >= kMuchLess * expected) return sites;
  const absl::Duration delays = Predict(run_, plans_[plan_], parameters_, faster).exchange;
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
  PaceDecision decision{.plan = plan_};
  const bool known = !measured.empty() && std::ranges::all_of(measured, Known);
  if (!known) return decision;
  const std::vector<PacedSite> sites = AsFastAsTheyAre(measured);
  waits_known_ =
      std::ranges::all_of(measured, [](const PacedSite& site) { return site.waited.has_value(); });
  waits_told_ |= waits_known_;
  for (const Plan& plan : plans_) {
    decision.predictions.push_back(Predict(run_, plan, parameters_, sites));
  }
  const auto [best, target_met] =
      BestOf(decision.predictions, options_.target, plan_, options_.slack);
  decision.target_met = target_met;
  // What an exchange of the same plan takes by the rates as they were measured tells sites apart,
  // and no change of plan does.
  const absl::Duration exchange = Predict(run_, plans_[0], parameters_, measured).exchange;
  const double times =
      at_change_ > absl::ZeroDuration() ? absl::FDivDuration(exchange, at_change_) : 1.0;
  if (std::max(times, 1 / times) >= options_.other_sites) {
    before_.clear();
    dwell_ = std::min(dwell_, options_.dwell);
  }
  decision.reason = WhyNot(decision.predictions, best);
  decision.changed = decision.reason == PaceReason::kRatio || decision.reason == PaceReason::kTime;
  if (decision.changed) {
    Change(best);
    at_change_ = exchange;
  }
  decision.plan = plan_;
  return decision;
}

PaceReason Pacer::WhyNot(const std::vector<Prediction>& predictions, size_t best) const {
  if (best == plan_) return PaceReason::kBest;
  if (frozen_) return PaceReason::kFrozen;
  const Prediction& now = predictions[plan_];
  const Prediction& then = predictions[best];
  const double allowed = options_.target + options_.slack;
  const bool ratio = now.cost.ratio > allowed && then.cost.ratio <= options_.target;
  if (!ratio && then.time > (1 - options_.worth) * now.time) return PaceReason::kNotWorthIt;
  const bool in_the_dark = waits_told_ && !waits_known_ && since_change_ < 2 * options_.dwell;
  if (since_change_ < dwell_ || (dwell_ > 0 && in_the_dark)) return PaceReason::kTooSoon;
  return ratio ? PaceReason::kRatio : PaceReason::kTime;
}

void Pacer::Change(size_t to) {
  const bool goes_back = before_.contains(to);
  dwell_ =
      goes_back ? std::min(2 * dwell_, options_.longest_dwell) : std::max(dwell_, options_.dwell);
  before_.insert(plan_);
  plan_ = to;
  since_change_ = 0;
}

}  // namespace isthmus
