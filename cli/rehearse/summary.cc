#include "cli/rehearse/summary.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/run/spec_fields.h"

namespace isthmus {
namespace {

struct SiteTimes {
  double step_seconds = 0;
  double compute_seconds = 0;
  double communication_ratio = 0;
};

// Of the job where it reported, else as the worker last told the coordinator. Where only one of
// several steps exchanges, a median of the job's would miss the exchanges.
SiteTimes TimesOf(const DeploymentResult& result, size_t site, bool every_step) {
  if (site < result.reports.size() && result.reports[site]) {
    const JobReport& report = *result.reports[site];
    return {!every_step ? report.step_seconds_mean : report.step_seconds, report.compute_seconds,
            report.communication_ratio};
  }
  const GroupView* group = result.view.Group(static_cast<uint32_t>(site + 1));
  if (group == nullptr) return {};
  return {group->step_seconds, group->compute_seconds, group->communication_ratio};
}

// The slowest site's times; the mean communication ratio.
SiteTimes TimesOfAll(const DeploymentResult& result, size_t sites, bool every_step) {
  SiteTimes all;
  for (size_t site = 0; site < sites; ++site) {
    const SiteTimes times = TimesOf(result, site, every_step);
    all.step_seconds = std::max(all.step_seconds, times.step_seconds);
    all.compute_seconds = std::max(all.compute_seconds, times.compute_seconds);
    all.communication_ratio += times.communication_ratio / static_cast<double>(sites);
  }
  return all;
}

void FillReported(const DeploymentResult& main, Summary* summary) {
  double tokens_per_round = 0;
  for (size_t site = 0; site < summary->ranks.size(); ++site) {
    if (site >= main.reports.size() || !main.reports[site]) continue;
    const JobReport& report = *main.reports[site];
    tokens_per_round += static_cast<double>(report.tokens_per_step) * summary->ranks[site] *
                        summary->steps_per_round[site];
    // Replicas are identical, so the first site speaks for all.
    if (!summary->validation_loss) summary->validation_loss = report.validation_loss;
    if (summary->validation_curve.empty()) summary->validation_curve = report.validation_curve;
    if (!summary->unigram_entropy) summary->unigram_entropy = report.unigram_entropy;
    if (summary->sample.empty()) summary->sample = report.sample;
    if (summary->parameters == 0) summary->parameters = report.parameters;
  }
  if (main.counted_seconds > 0) {
    summary->tokens_per_second =
        tokens_per_round * static_cast<double>(main.counted_rounds) / main.counted_seconds;
  }
}

void FillHashes(const DeploymentResult& main, Summary* summary) {
  for (size_t site = 0; site < summary->ranks.size(); ++site) {
    const GroupView* group = main.view.Group(static_cast<uint32_t>(site + 1));
    const bool reported = group != nullptr && group->hash_round == summary->rounds;
    summary->hashes.push_back(reported ? absl::StrFormat("%016x", group->state_hash) : "");
  }
  summary->hashes_equal =
      !summary->hashes[0].empty() &&
      std::all_of(summary->hashes.begin(), summary->hashes.end(),
                  [&](const std::string& hash) { return hash == summary->hashes[0]; });
  summary->replicas_part = summary->scheme == Name(Scheme::kNone) &&
                           std::ranges::none_of(summary->hashes, &std::string::empty);
}

void FillBytes(const DeploymentResult& main, Summary* summary) {
  const auto rounds = static_cast<double>(std::max<uint64_t>(1, main.counted_rounds));
  for (size_t site = 0; site < main.counters_end.size(); ++site) {
    const double steps = rounds * summary->steps_per_round[site];
    const LinkCounters& start = main.counters_start[site];
    const LinkCounters& end = main.counters_end[site];
    summary->bytes_up_per_step.push_back(static_cast<double>(end.bytes_up - start.bytes_up) /
                                         steps);
    summary->bytes_down_per_step.push_back(static_cast<double>(end.bytes_down - start.bytes_down) /
                                           steps);
  }
}

template <typename T>
nlohmann::ordered_json OrNull(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

nlohmann::ordered_json CurveJson(const std::vector<CurvePoint>& curve) {
  auto json = nlohmann::ordered_json::array();
  for (const CurvePoint& point : curve) {
    json.push_back({{"step", point.step}, {"loss", point.loss}});
  }
  return json;
}

// 0 stands for "not measured".
nlohmann::ordered_json Measured(double value) {
  return value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

// Where jobs do not count them, or a pace changes their number, as many as they say in the end that
// they had.
std::vector<double> StepsPerRound(const RehearseOptions& options, const DeploymentResult& main) {
  std::vector<double> steps(options.ranks.size(),
                            std::max(1.0, static_cast<double>(options.run.format.every.steps)));
  const bool paced = options.formats_change() && options.run.scheme == Scheme::kLocal;
  if (options.run.format.every.steps > 0 && !paced) return steps;
  for (size_t site = 0; site < steps.size() && site < main.reports.size(); ++site) {
    if (!main.reports[site] || main.reports[site]->steps == 0) continue;
    steps[site] =
        static_cast<double>(main.reports[site]->steps) / static_cast<double>(options.run.rounds);
  }
  return steps;
}

}  // namespace

Summary Summarize(const RehearseOptions& options, const DeploymentResult& main,
                  const DeploymentResult* comparison) {
  Summary summary;
  summary.parameters = main.view.parameters;
  summary.steps = options.steps();
  summary.rounds = options.run.rounds;
  summary.every = FindSpecField("every")->text(options.run);
  summary.steps_per_round = StepsPerRound(options, main);
  summary.own_optimizer = options.own_optimizer;
  summary.ranks = options.ranks;
  for (size_t i = 0; i < options.links.size(); ++i) {
    const bool traced = i < options.traces.size() && options.traces[i].has_value();
    summary.links.push_back(traced ? options.link_traces[i] : options.links[i].ToString());
  }
  summary.scheme = Name(options.run.scheme);
  summary.chunk = options.run.format.chunk_size;
  summary.k = options.run.format.all.k;
  summary.values = Name(options.run.format.all.values);
  summary.seed = options.seed;
  FillReported(main, &summary);
  FillHashes(main, &summary);
  FillBytes(main, &summary);
  const bool every_step = options.run.format.every == Period();
  const SiteTimes times = TimesOfAll(main, options.ranks.size(), every_step);
  summary.step_seconds = times.step_seconds;
  summary.compute_seconds = times.compute_seconds;
  summary.communication_ratio = times.communication_ratio;
  if (comparison != nullptr) {
    const double full = TimesOfAll(*comparison, options.ranks.size(), true).step_seconds;
    if (full > 0) summary.full_step_seconds = full;
    const double exchange = times.step_seconds - times.compute_seconds;
    if (exchange > 0 && full > times.compute_seconds) {
      summary.exchange_speedup = (full - times.compute_seconds) / exchange;
    }
  }
  summary.dense_float32_bytes = 4 * summary.parameters;
  summary.rounds_committed = main.view.rounds_committed;
  if (options.formats_change()) summary.paced_rounds = main.rounds;
  summary.contributions_late = main.view.contributions_late;
  summary.contributions_rejected = main.view.contributions_rejected;
  summary.abstentions = main.view.abstentions;
  summary.audits = main.view.audits;
  summary.audit_mismatches = main.view.audit_mismatches;
  summary.elapsed_seconds = main.counted_seconds;
  summary.loss = main.view.loss;
  summary.samples_per_second = main.view.samples_per_second;
  return summary;
}

namespace {

nlohmann::ordered_json RoundsJson(const std::vector<RoundView>& rounds) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const RoundView& round : rounds) {
    json.push_back({{"round", round.round},
                    {"seconds", round.seconds},
                    {"chunk", round.chunk},
                    {"k", round.k},
                    {"values", round.values},
                    {"every", round.every},
                    {"group_formats", round.group_formats},
                    {"bytes_up", round.bytes_up},
                    {"bytes_down", round.bytes_down}});
  }
  return json;
}

}  // namespace

std::string SummaryJson(const Summary& summary) {
  const nlohmann::ordered_json json = {
      {"parameters", summary.parameters},
      {"steps", summary.steps},
      {"sites", summary.ranks.size()},
      {"ranks", summary.ranks},
      {"links", summary.links},
      {"scheme", summary.scheme},
      {"chunk", summary.chunk},
      {"k", summary.k},
      {"values", summary.values},
      {"every", summary.every},
      {"steps_per_round", summary.steps_per_round},
      {"own_optimizer", summary.own_optimizer},
      {"seed", summary.seed},
      {"loss", summary.loss},  // NaN becomes null
      {"validation_loss", OrNull(summary.validation_loss)},
      {"validation_curve", CurveJson(summary.validation_curve)},
      {"unigram_entropy", OrNull(summary.unigram_entropy)},
      {"hashes_equal", summary.hashes_equal},
      {"hashes", summary.hashes},
      {"step_seconds", Measured(summary.step_seconds)},
      {"compute_seconds", Measured(summary.compute_seconds)},
      {"full_step_seconds", OrNull(summary.full_step_seconds)},
      {"exchange_speedup", OrNull(summary.exchange_speedup)},
      {"communication_ratio", summary.communication_ratio},
      {"bytes_up_per_step", summary.bytes_up_per_step},
      {"bytes_down_per_step", summary.bytes_down_per_step},
      {"dense_float32_bytes", summary.dense_float32_bytes},
      {"rounds_committed", summary.rounds_committed},
      {"contributions_late", summary.contributions_late},
      {"contributions_rejected", summary.contributions_rejected},
      {"abstentions", summary.abstentions},
      {"audits", summary.audits},
      {"audit_mismatches", summary.audit_mismatches},
      {"tokens_per_second", Measured(summary.tokens_per_second)},
      {"samples_per_second", Measured(summary.samples_per_second)},
      {"elapsed_seconds", summary.elapsed_seconds},
      {"paced_rounds", RoundsJson(summary.paced_rounds)},
      {"sample", summary.sample},
  };
  // The sample of a byte-level model need not be UTF-8.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace isthmus
