#include "common/pace/plans.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "common/base/check.h"

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

// Of all elements, how many are sent in a step: what plans are ordered by.
double ShareOfAStep(const Plan& plan) {
  return static_cast<double>(plan.format.all.k) / plan.format.chunk_size / plan.format.every.steps;
}

// Of the same chunk size, where some sites may send less than others.
std::vector<Plan> WhereSomeSendLess(const std::vector<Plan>& known) {
  std::vector<Plan> plans;
  for (const Plan& more : known) {
    for (const Plan& less : known) {
      if (less.format.chunk_size != more.format.chunk_size) continue;
      if (less.format.all.k >= more.format.all.k) continue;
      plans.push_back(more);
      plans.back().less = less.format.all;
      plans.back().less_steps = less.steps;
    }
  }
  return plans;
}

// What `plan` has sites send, as PlanOf() must know it again.
bool IsOf(const RoundFormat& format, const Plan& plan) {
  RoundFormat without = format;
  std::erase_if(without.own, [&](const auto& own) {
    return own.second == *plan.less && !plan.format.own.contains(own.first);
  });
  return without == plan.format;
}

RoundFormat FormatFor(const RunSpec& run, const Plan& plan, uint64_t parameters,
                      const std::vector<PacedSite>& sites, const RoundFormat* present) {
  if (!plan.less) return plan.format;
  constexpr double kFaster = 0.8;  // for who sends less to send as much as others again
  RunSpec planned = run;
  planned.format = plan.format;
  planned.format.own.clear();
  const uint64_t more = BytesUp(planned, parameters, GroupId(1));
  planned.format.all = *plan.less;
  const uint64_t less = BytesUp(planned, parameters, GroupId(1));
  const auto takes = [](uint64_t bytes, const Path& path) {
    return absl::Seconds(static_cast<double>(bytes) / path.up) + path.round_trip / 2;
  };
  absl::Duration slowest;
  for (const PacedSite& site : sites) slowest = std::max(slowest, takes(less, site.path));
  const bool had = present != nullptr && IsOf(*present, plan);
  // What was measured of the late says little: nobody else is to send less for them.
  const bool some_late = std::ranges::any_of(sites, &PacedSite::late);
  RoundFormat format = plan.format;
  size_t may = 0;  // send less
  for (const PacedSite& site : sites) {
    if (plan.format.own.contains(site.group)) continue;  // the run says what it sends
    ++may;
    const bool has_less = had && present->of(site.group) == *plan.less;
    const absl::Duration most = (has_less ? kFaster : 1.0) * slowest;
    const bool slow = some_late ? has_less : takes(more, site.path) > most;
    if (site.late || slow) format.own.emplace(site.group, *plan.less);
  }
  const bool all = format.own.size() >= plan.format.own.size() + may;
  return all || format.own.size() > kMaxGroupFormats ? plan.format : format;
}

// Of who sends in that format.
double StepsOf(const Plan& plan, const RoundFormat& format, const std::vector<PacedSite>& sites) {
  if (!plan.less || sites.empty()) return plan.steps;
  double steps = 0;
  for (const PacedSite& site : sites) {
    const bool less = !plan.format.own.contains(site.group) && format.own.contains(site.group);
    steps += less ? plan.less_steps : plan.steps;
  }
  return steps / static_cast<double>(sites.size());
}

}  // namespace

std::vector<Plan> PlansOf(const RunSpec& run, const std::vector<KnownScheme>& known) {
  std::vector<Plan> plans;
  const bool by_steps = run.format.every.steps > 0;
  // Figures of other values are better than none.
  const auto is_of = [&](const KnownScheme& scheme) {
    return scheme.run.scheme == run.scheme && scheme.run.format.all.values == run.format.all.values;
  };
  const bool some_are = std::ranges::any_of(known, is_of);
  for (const KnownScheme& scheme : known) {
    if (scheme.run.scheme != run.scheme || !by_steps || (some_are && !is_of(scheme))) continue;
    RunSpec paced = run;
    paced.format.chunk_size = scheme.run.format.chunk_size;
    paced.format.all.k = scheme.run.format.all.k;
    paced.format.every = scheme.run.format.every;
    paced.format.overlap = std::min(run.format.overlap, paced.format.every.steps);
    if (!Validate(paced).ok() || !CheckChange(run, run.format, paced.format).ok()) continue;
    // The first one said counts.
    if (std::ranges::find(plans, paced.format, &Plan::format) != plans.end()) continue;
    plans.push_back({paced.format, scheme.steps});
  }
  const bool paced = run.scheme == Scheme::kFlexDemo || run.scheme == Scheme::kLocal;
  if (!paced || plans.empty()) return {{run.format, 1.0}};
  if (run.scheme == Scheme::kLocal) {
    std::ranges::stable_sort(plans, {}, [](const Plan& plan) { return plan.format.every.steps; });
    return WithThoseBetween(plans, run.format.overlap);
  }
  std::ranges::stable_sort(plans, std::greater(), ShareOfAStep);
  const std::vector<Plan> uneven = WhereSomeSendLess(plans);
  plans.insert(plans.end(), uneven.begin(), uneven.end());
  return plans;
}

absl::Status CheckPaced(const RunSpec& run, const std::vector<KnownScheme>& known) {
  if (PlansOf(run, known).size() > 1) return absl::OkStatus();
  const bool paced = run.scheme == Scheme::kFlexDemo || run.scheme == Scheme::kLocal;
  return absl::InvalidArgumentError(
      absl::StrCat("pace: expected ",
                   paced ? "a format that others may follow, of what there are figures for "
                           "(docs/schemes.md, or --schemes): parts of chunks, or a number of steps"
                         : "scheme flexdemo or local",
                   ", got scheme ", Name(run.scheme)));
}

size_t PlanOf(const RoundFormat& format, std::vector<Plan>& plans) {
  ISTHMUS_CHECK(!plans.empty());
  auto at = std::ranges::find_if(
      plans, [&](const Plan& plan) { return !plan.less && plan.format == format; });
  if (at == plans.end()) {
    at = std::ranges::find_if(plans,
                              [&](const Plan& plan) { return plan.less && IsOf(format, plan); });
  }
  if (at != plans.end()) return static_cast<size_t>(at - plans.begin());
  const double most = std::ranges::max_element(plans, {}, &Plan::steps)->steps;
  plans.insert(plans.begin(), {.format = format, .steps = most});
  return 0;
}

Prediction PredictFormat(const RunSpec& run, const Plan& plan, const RoundFormat& format,
                         uint64_t parameters, const std::vector<PacedSite>& sites) {
  RunSpec planned = run;
  planned.format = format;
  std::vector<GroupId> groups;
  std::vector<Path> paths;
  absl::Duration compute;
  for (const PacedSite& site : sites) {
    groups.push_back(site.group);
    paths.push_back(site.path);
    compute = std::max(compute, site.compute);
  }
  Prediction prediction{.format = format, .bytes = BytesOfRound(planned, parameters, groups)};
  for (size_t site = 0; site < paths.size(); ++site) {
    prediction.exchange =
        std::max(prediction.exchange, ExchangeTime(prediction.bytes, paths, site));
  }
  const uint32_t period = std::max(1u, format.every.steps);
  prediction.cost = CostOfStep(compute, prediction.exchange, period, format.overlap);
  prediction.time = prediction.cost.step * StepsOf(plan, format, sites);
  return prediction;
}

Prediction Predict(const RunSpec& run, const Plan& plan, uint64_t parameters,
                   const std::vector<PacedSite>& sites, const RoundFormat* present) {
  const RoundFormat format = FormatFor(run, plan, parameters, sites, present);
  return PredictFormat(run, plan, format, parameters, sites);
}

}  // namespace isthmus
