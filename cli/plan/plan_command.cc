#include "cli/plan/plan_command.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "cli/base/exit_codes.h"
#include "cli/base/format.h"
#include "cli/link/link_spec.h"
#include "common/base/status_macros.h"
#include "common/program/input_file.h"
#include "common/program/run_flags.h"

namespace isthmus {
namespace {

constexpr double kMostParameters = 1e13;
constexpr absl::Duration kLongestStep = absl::Hours(1);

absl::Status Wrong(const char* flag, const std::string& expected, const std::string& said) {
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": expected ", expected, ", got '", said, "'"));
}

absl::StatusOr<uint64_t> ParseParameters(const std::string& text) {
  double unit = 1;
  absl::string_view digits = text;
  for (const auto& [letter, worth] :
       {std::pair('K', 1e3), std::pair('M', 1e6), std::pair('B', 1e9)}) {
    if (digits.empty() || (digits.back() != letter && digits.back() != letter + 32)) continue;
    digits.remove_suffix(1);
    unit = worth;
    break;
  }
  double number = 0;
  if (!absl::SimpleAtod(digits, &number) ||
      !(number * unit >= 1 && number * unit <= kMostParameters)) {
    return Wrong("--params", "a number of parameters up to 10000B, with K, M or B, as in 124M",
                 text);
  }
  return static_cast<uint64_t>(std::round(number * unit));
}

absl::StatusOr<absl::Duration> ParseStep(const std::string& text) {
  absl::Duration step;
  if (!absl::ParseDuration(text, &step) || step <= absl::ZeroDuration() || step > kLongestStep) {
    return Wrong("--step-time",
                 "the time of a step without any exchange, up to 1h, as in 0.5s or 300ms", text);
  }
  return step;
}

absl::StatusOr<std::vector<Path>> ParseLinks(const PlanFlags& flags) {
  std::vector<Path> sites;
  for (const absl::string_view text : absl::StrSplit(flags.links, ',')) {
    const absl::StatusOr<LinkSpec> spec = ParseLinkSpec(text);
    if (!spec.ok())
      return absl::InvalidArgumentError(absl::StrCat("--link: ", spec.status().message()));
    sites.push_back(
        {spec->up_bits_per_second / 8, spec->down_bits_per_second / 8, 2 * spec->delay});
  }
  if (sites.size() == 1) sites.resize(flags.sites == 0 ? 2 : flags.sites, sites[0]);
  if (flags.sites != 0 && sites.size() != flags.sites) {
    return Wrong("--link", absl::StrCat("one, or one for each of ", flags.sites, " sites"),
                 flags.links);
  }
  return sites;
}

// Of the site for which it is most.
uint64_t MostOf(const std::vector<uint64_t>& bytes) { return *std::ranges::max_element(bytes); }

std::string PerParameter(uint64_t bytes, const PlanOptions& options, const PlannedScheme& planned) {
  return absl::StrFormat("%.3g", static_cast<double>(bytes) /
                                     static_cast<double>(options.parameters) /
                                     planned.scheme.run.format.every.steps);
}

std::string Seconds(absl::Duration time) { return FormatSeconds(absl::ToDoubleSeconds(time)); }

// As a shell takes them.
std::string FlagsOf(const RunSpec& run) {
  std::vector<std::string> flags = RunFlags(run);
  for (std::string& flag : flags) {
    if (flag.find(' ') != std::string::npos) flag = absl::StrCat("'", flag, "'");
  }
  return absl::StrJoin(flags, " ");
}

std::string Table(const PlanOptions& options, const std::vector<PlannedScheme>& schemes) {
  std::vector<std::vector<std::string>> rows = {{"scheme", "B/param up", "up", "down", "exchange",
                                                 "step", "waits", "steps", "time to a loss"}};
  for (const PlannedScheme& planned : schemes) {
    rows.push_back(
        {planned.scheme.name, PerParameter(MostOf(planned.prediction.bytes.up), options, planned),
         FormatBytes(static_cast<double>(MostOf(planned.prediction.bytes.up))),
         FormatBytes(static_cast<double>(MostOf(planned.prediction.bytes.down))),
         Seconds(planned.prediction.exchange), Seconds(planned.prediction.cost.step),
         FormatPercent(planned.prediction.cost.ratio),
         absl::StrFormat("%.2f", planned.scheme.steps), absl::StrFormat("%.2f", planned.time)});
  }
  return FormatColumns(rows);
}

std::string Setting(const RunSpec& run) {
  const RoundFormat& format = run.format;
  if (run.scheme == Scheme::kLocal) return absl::StrCat("every ", format.every.steps, " steps");
  std::map<uint32_t, std::vector<uint32_t>> less;  // by k: of which sites
  for (const auto& [group, own] : format.own) less[own.k].push_back(group.value());
  std::string setting = absl::StrCat(format.all.k, " of ", format.chunk_size);
  for (const auto& [k, sites] : less) {
    absl::StrAppend(&setting, "; ", k, " at site ", absl::StrJoin(sites, ", "));
  }
  return setting;
}

std::string PacedTable(const std::vector<PacedScheme>& schemes) {
  std::vector<std::vector<std::string>> rows = {
      {"paced", "setting", "exchange", "step", "waits", "time to a loss"}};
  for (const PacedScheme& paced : schemes) {
    rows.push_back(
        {Name(paced.run.scheme), Setting(paced.run), Seconds(paced.prediction.exchange),
         Seconds(paced.prediction.cost.step),
         absl::StrCat(FormatPercent(paced.prediction.cost.ratio), paced.target_met ? "" : " !"),
         absl::StrFormat("%.2f", paced.time)});
  }
  return FormatColumns(rows);
}

std::string PacedNote(const PlanOptions& options, const std::vector<PacedScheme>& schemes) {
  const bool met = std::ranges::all_of(schemes, &PacedScheme::target_met);
  return absl::StrCat("What a pace within a communication ratio of ", FormatPercent(options.target),
                      " would settle on",
                      met ? "" : " (!: no setting is within it; this is the soonest)", ":\n");
}

void AddCost(const Prediction& prediction, double time, nlohmann::ordered_json* row) {
  (*row)["exchange_seconds"] = absl::ToDoubleSeconds(prediction.exchange);
  (*row)["step_seconds"] = absl::ToDoubleSeconds(prediction.cost.step);
  (*row)["blocked_seconds"] = absl::ToDoubleSeconds(prediction.cost.blocked);
  (*row)["communication_ratio"] = prediction.cost.ratio;
  (*row)["relative_time"] = time;
}

nlohmann::ordered_json PacedJson(const std::vector<PacedScheme>& schemes) {
  nlohmann::ordered_json rows = nlohmann::json::array();
  for (const PacedScheme& paced : schemes) {
    rows.push_back({{"scheme", Name(paced.run.scheme)},
                    {"setting", Setting(paced.run)},
                    {"flags", FlagsOf(paced.run)},
                    {"target_met", paced.target_met}});
    AddCost(paced.prediction, paced.time, &rows.back());
  }
  return rows;
}

nlohmann::ordered_json Json(const PlanOptions& options, const std::vector<PlannedScheme>& schemes,
                            const std::vector<PacedScheme>& paced) {
  nlohmann::ordered_json rows = nlohmann::json::array();
  for (const PlannedScheme& planned : schemes) {
    rows.push_back({{"scheme", planned.scheme.name},
                    {"flags", FlagsOf(planned.scheme.run)},
                    {"bytes_up", MostOf(planned.prediction.bytes.up)},
                    {"bytes_down", MostOf(planned.prediction.bytes.down)},
                    {"period_steps", planned.scheme.run.format.every.steps},
                    {"relative_steps", planned.scheme.steps}});
    AddCost(planned.prediction, planned.time, &rows.back());
  }
  return {{"parameters", options.parameters},
          {"compute_seconds", absl::ToDoubleSeconds(options.compute)},
          {"sites", options.sites.size()},
          {"schemes", rows},
          {"target_communication_ratio", options.target},
          {"paced", PacedJson(paced)}};
}

std::vector<PacedSite> SitesOf(const PlanOptions& options) {
  std::vector<PacedSite> sites;
  for (const Path& path : options.sites) {
    const GroupId group(static_cast<uint32_t>(sites.size() + 1));
    sites.push_back({.group = group, .path = path, .compute = options.compute});
  }
  return sites;
}

}  // namespace

absl::StatusOr<PlanOptions> ParsePlanFlags(const PlanFlags& flags) {
  PlanOptions options;
  ISTHMUS_ASSIGN_OR_RETURN(options.parameters, ParseParameters(flags.parameters));
  ISTHMUS_ASSIGN_OR_RETURN(options.compute, ParseStep(flags.step));
  ISTHMUS_ASSIGN_OR_RETURN(options.sites, ParseLinks(flags));
  options.target = flags.target;
  if (flags.schemes.empty()) return options;
  ISTHMUS_ASSIGN_OR_RETURN(options.schemes,
                           ParseInputFile("--schemes", flags.schemes,
                                          "a file of lines as '1.17 flexdemo k=2'", ParseSchemes));
  return options;
}

std::vector<PlannedScheme> PlanSchemes(const PlanOptions& options) {
  const std::vector<PacedSite> sites = SitesOf(options);
  std::vector<PlannedScheme> schemes;
  for (const KnownScheme& scheme : options.schemes) {
    const Plan plan{.format = scheme.run.format, .steps = scheme.steps};
    const Prediction prediction = Predict(scheme.run, plan, options.parameters, sites);
    schemes.push_back({.scheme = scheme, .prediction = prediction});
  }
  std::ranges::sort(schemes, {}, [](const PlannedScheme& s) { return s.prediction.time; });
  const absl::Duration best = schemes.front().prediction.time;
  for (PlannedScheme& s : schemes) s.time = absl::FDivDuration(s.prediction.time, best);
  return schemes;
}

std::vector<PacedScheme> PaceSchemes(const PlanOptions& options, const PlannedScheme& best) {
  const std::vector<PacedSite> sites = SitesOf(options);
  std::vector<PacedScheme> schemes;
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kLocal}) {
    PacedScheme paced{.run = DefaultRunSpec(scheme)};
    if (!CheckPaced(paced.run, options.schemes).ok()) continue;
    const std::vector<Plan> plans = PlansOf(paced.run, options.schemes);
    std::vector<Prediction> predictions;
    for (const Plan& plan : plans) {
      predictions.push_back(Predict(paced.run, plan, options.parameters, sites));
    }
    const auto [chosen, target_met] = BestOf(predictions, options.target);
    paced.run.format = predictions[chosen].format;
    paced.prediction = predictions[chosen];
    paced.target_met = target_met;
    paced.time = absl::FDivDuration(paced.prediction.time, best.prediction.time);
    schemes.push_back(std::move(paced));
  }
  return schemes;
}

int RunPlan(const PlanFlags& flags, std::ostream& out, std::ostream& errors) {
  const absl::StatusOr<PlanOptions> options = ParsePlanFlags(flags);
  if (!options.ok()) {
    errors << "isthmus plan: " << options.status().message() << std::endl;
    return kExitUsage;
  }
  const std::vector<PlannedScheme> schemes = PlanSchemes(*options);
  const std::vector<PacedScheme> paced = PaceSchemes(*options, schemes[0]);
  if (flags.json) {
    out << Json(*options, schemes, paced).dump(2) << std::endl;
    return kExitOk;
  }
  out << Table(*options, schemes) << "\nThe first: isthmus-coordinator "
      << FlagsOf(schemes[0].scheme.run) << "\n";
  if (!paced.empty()) out << "\n" << PacedNote(*options, paced) << PacedTable(paced);
  out << std::flush;
  return kExitOk;
}

}  // namespace isthmus
