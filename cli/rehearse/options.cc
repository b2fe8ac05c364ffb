#include "cli/rehearse/options.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <type_traits>

#include "common/base/status_macros.h"
#include "common/pace/pacer.h"
#include "common/program/flags.h"
#include "common/program/input_file.h"

namespace isthmus {
namespace {

constexpr int kMaxSites = 64;
constexpr int kMaxRanks = 64;
constexpr uint64_t kMaxSteps = 1'000'000'000;

absl::Status Wrong(absl::string_view flag, absl::string_view expected, absl::string_view got) {
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": expected ", expected, ", got '", got, "'"));
}

template <typename Int>
absl::StatusOr<Int> ParseInt(absl::string_view flag, absl::string_view text, Int min,
                             std::type_identity_t<Int> max) {
  Int value{};
  if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
    return Wrong(flag, absl::StrCat("a whole number from ", min, " to ", max), text);
  }
  return value;
}

absl::StatusOr<double> ParseReal(absl::string_view flag, absl::string_view text, double min,
                                 double below) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !(value >= min && value < below)) {
    return Wrong(flag, absl::StrCat("a number from ", min, " to below ", below), text);
  }
  return value;
}

absl::StatusOr<std::string> ParseChoice(absl::string_view flag, absl::string_view text,
                                        const std::vector<absl::string_view>& choices) {
  if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
    return Wrong(flag, absl::StrCat("one of ", absl::StrJoin(choices, ", ")), text);
  }
  return std::string(text);
}

// One value for all sites, or one per site.
std::vector<std::string> PerSite(const std::vector<std::string>& values, size_t sites) {
  return values.size() == 1 ? std::vector<std::string>(sites, values[0]) : values;
}

absl::Status ParseSites(const RehearseFlags& flags, RehearseOptions* options) {
  const std::vector<std::string> ranks = absl::StrSplit(flags.ranks, ',');
  const std::vector<std::string> links = absl::StrSplit(flags.link, ',');
  const std::vector<std::string> simd = absl::StrSplit(flags.simd, ',');
  const std::vector<std::string> devices = absl::StrSplit(flags.devices, ',');
  // Lists say how many sites there are; without any, two.
  const std::vector<std::string> traces = absl::StrSplit(flags.link_trace, ',', absl::SkipEmpty());
  const size_t listed = std::max({ranks.size(), links.size(), devices.size(), traces.size()});
  size_t sites = listed > 1 ? listed : 2;
  if (!flags.sites.empty()) {
    ISTHMUS_ASSIGN_OR_RETURN(sites, ParseInt<size_t>("--sites", flags.sites, 1, kMaxSites));
  }
  if (sites > kMaxSites) {
    return Wrong("--sites", absl::StrCat("at most ", kMaxSites), absl::StrCat(sites));
  }
  const std::string expected = absl::StrCat("one value, or one for each of ", sites, " sites");
  if (ranks.size() != 1 && ranks.size() != sites) return Wrong("--ranks", expected, flags.ranks);
  if (links.size() != 1 && links.size() != sites) return Wrong("--link", expected, flags.link);
  if (simd.size() != 1 && simd.size() != sites) return Wrong("--simd", expected, flags.simd);
  if (traces.size() > 1 && traces.size() != sites) {
    return Wrong("--link-trace", expected, flags.link_trace);
  }
  if (!traces.empty()) options->link_traces = PerSite(traces, sites);
  options->simd = PerSite(simd, sites);
  if (devices.size() != 1 && devices.size() != sites) {
    return Wrong("--devices", expected, flags.devices);
  }
  for (const std::string& text : PerSite(devices, sites)) {
    ISTHMUS_ASSIGN_OR_RETURN(options->devices.emplace_back(),
                             ParseChoice("--devices", text, {"cpu", "cuda", "host-gpu"}));
  }
  for (const std::string& text : PerSite(ranks, sites)) {
    ISTHMUS_ASSIGN_OR_RETURN(const int count, ParseInt<int>("--ranks", text, 1, kMaxRanks));
    options->ranks.push_back(count);
  }
  for (const std::string& text : PerSite(links, sites)) {
    const absl::StatusOr<LinkSpec> link = ParseLinkSpec(text);
    if (!link.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--link: ", link.status().message()));
    }
    options->links.push_back(*link);
  }
  return absl::OkStatus();
}

absl::Status ParseRun(const RehearseFlags& flags, RehearseOptions* options) {
  ISTHMUS_ASSIGN_OR_RETURN(const uint64_t steps,
                           ParseInt<uint64_t>("--steps", flags.steps, 1, kMaxSteps));
  GivenFields given = flags.run;
  given["start_groups"] = absl::StrCat(options->sites());
  ISTHMUS_ASSIGN_OR_RETURN(options->run, RunSpecOf(given));
  // Where the coordinator says when, nobody knows how many steps a round will have: rounds count.
  const uint32_t every = std::max(1u, options->run.format.every.steps);
  if (steps % every != 0) {
    return Wrong("--steps", absl::StrCat("a multiple of --every, ", every), flags.steps);
  }
  options->run.rounds = steps / every;
  return absl::OkStatus();
}

absl::Status ParseJob(const RehearseFlags& flags, RehearseOptions* options) {
  options->lr = DefaultLearningRate(options->run.scheme);
  if (!flags.lr.empty()) {
    ISTHMUS_ASSIGN_OR_RETURN(options->lr, ParseReal("--lr", flags.lr, 0, 1000));
    if (options->lr == 0) return Wrong("--lr", "a number above 0", flags.lr);
  }
  ISTHMUS_ASSIGN_OR_RETURN(options->batch, ParseInt<int>("--batch", flags.batch, 1, 4096));
  ISTHMUS_ASSIGN_OR_RETURN(options->seed, ParseInt<uint64_t>("--seed", flags.seed, 0, UINT32_MAX));
  if (flags.text.empty() && flags.command.empty()) {
    return Wrong("--text", "a file or directory of text to train on, or a job after --", "");
  }
  options->text = flags.text;
  options->lm_args = absl::StrSplit(flags.lm_args, ' ', absl::SkipWhitespace());
  options->command = flags.command;
  const bool local = options->run.scheme == Scheme::kLocal;
  if (!local && !flags.own_optimizer.empty()) {
    return Wrong("--own-optimizer", "--scheme local beside it: others step by the daemon's",
                 flags.own_optimizer);
  }
  if (local) options->own_optimizer = flags.own_optimizer.empty() ? "muon" : flags.own_optimizer;
  return absl::OkStatus();
}

absl::Status ParseFaults(const RehearseFlags& flags, RehearseOptions* options) {
  for (const std::string& text : flags.faults) {
    ISTHMUS_ASSIGN_OR_RETURN(const Fault fault, ParseFault(text));
    if (fault.site > options->sites()) {
      return Wrong("--fault", absl::StrCat("a site from 1 to ", options->sites()), text);
    }
    if (fault.round > options->run.rounds) {
      return Wrong("--fault", absl::StrCat("a round from 1 to ", options->run.rounds), text);
    }
    if (fault.kind == Fault::Kind::kFlip && fault.round == options->run.rounds) {
      return Wrong("--fault",
                   absl::StrCat("a flip before the last round, ", fault.round,
                                ", so that a later one shows it"),
                   text);
    }
    // Its worker is told when it starts.
    for (const Fault& other : options->faults) {
      if (fault.kind == Fault::Kind::kFlip && other.kind == fault.kind &&
          other.site == fault.site) {
        return Wrong("--fault", "one flip for each site", text);
      }
    }
    options->faults.push_back(fault);
  }
  return absl::OkStatus();
}

absl::Status ParseDeadline(const RehearseFlags& flags, RehearseOptions* options) {
  if (flags.deadline == "off") return absl::OkStatus();
  absl::Duration deadline;
  if (!absl::ParseDuration(flags.deadline, &deadline) || deadline <= absl::ZeroDuration() ||
      deadline > absl::Hours(24)) {
    return Wrong("--deadline", "off, or a duration such as 60s", flags.deadline);
  }
  options->deadline = deadline;
  return absl::OkStatus();
}

absl::Status ParsePace(const RehearseFlags& flags, RehearseOptions* options) {
  if (const std::string wrong = Share()(flags.pace); !wrong.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--pace: ", wrong));
  }
  options->pace = ParseShare(flags.pace);
  options->schedule = flags.schedule;
  return options->pace ? CheckPaced(options->run) : absl::OkStatus();
}

}  // namespace

double DefaultLearningRate(Scheme scheme) {
  switch (scheme) {
    case Scheme::kFlexDemo:
      return 0.003;
    case Scheme::kRandom:
      return 0.013;
    case Scheme::kStriding:
      return 0.009;
    case Scheme::kSlicing:
      return 0.006;
    case Scheme::kFull:
    case Scheme::kNone:
    case Scheme::kLocal:  // of the job's AdamW
      return 0.004;
  }
  return 0;
}

absl::Status ReadLinkTraces(RehearseOptions* options) {
  for (size_t site = 0; site < options->link_traces.size(); ++site) {
    const std::string& path = options->link_traces[site];
    options->traces.emplace_back();
    if (path == "-") continue;
    ISTHMUS_ASSIGN_OR_RETURN(
        LinkTrace trace, ParseInputFile("--link-trace", path, "a file of lines as '0 10mbit/40ms'",
                                        LinkTrace::Parse));
    options->links[site] = trace.first();
    options->traces[site] = std::move(trace);
  }
  return absl::OkStatus();
}

absl::StatusOr<Fault> ParseFault(absl::string_view text) {
  constexpr absl::string_view kExpected =
      "kill:SITE@ROUND, cut:SITE@ROUND/SECONDS or flip:SITE@ROUND";
  const std::pair<absl::string_view, absl::string_view> kind_rest =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::pair<absl::string_view, absl::string_view> site_when =
      absl::StrSplit(kind_rest.second, absl::MaxSplits('@', 1));
  const std::vector<absl::string_view> when = absl::StrSplit(site_when.second, '/');
  Fault fault;
  const bool cut = kind_rest.first == "cut";
  const bool flip = kind_rest.first == "flip";
  if ((!cut && !flip && kind_rest.first != "kill") || when.size() != (cut ? 2 : 1) ||
      !absl::SimpleAtoi(site_when.first, &fault.site) || fault.site < 1 ||
      !absl::SimpleAtoi(when[0], &fault.round) || fault.round < 1) {
    return Wrong("--fault", kExpected, text);
  }
  if (flip) fault.kind = Fault::Kind::kFlip;
  if (cut) {
    fault.kind = Fault::Kind::kCut;
    double seconds = 0;
    if (!absl::SimpleAtod(absl::StripSuffix(when[1], "s"), &seconds) || !(seconds > 0) ||
        seconds > 3600) {
      return Wrong("--fault", "an outage above 0 and up to 3600 seconds", text);
    }
    fault.outage = absl::Seconds(seconds);
  }
  return fault;
}

absl::StatusOr<RehearseOptions> ParseRehearseFlags(const RehearseFlags& flags) {
  RehearseOptions options;
  ISTHMUS_RETURN_IF_ERROR(ParseSites(flags, &options));
  ISTHMUS_RETURN_IF_ERROR(ParseRun(flags, &options));
  ISTHMUS_RETURN_IF_ERROR(ParseJob(flags, &options));
  ISTHMUS_ASSIGN_OR_RETURN(
      options.compare_steps,
      ParseInt<uint64_t>("--compare-steps", flags.compare_steps, 0, kMaxSteps));
  // A job of somebody's own that steps by itself has no gradients to give a run of scheme full.
  if (!options.command.empty() && options.run.scheme == Scheme::kLocal) options.compare_steps = 0;
  ISTHMUS_RETURN_IF_ERROR(ParseDeadline(flags, &options));
  ISTHMUS_RETURN_IF_ERROR(ParsePace(flags, &options));
  ISTHMUS_RETURN_IF_ERROR(ParseFaults(flags, &options));
  options.json_path = flags.json;
  options.keep_dir = flags.keep;
  options.bin_dir = flags.bin_dir;
  return options;
}

}  // namespace isthmus
