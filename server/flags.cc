#include "server/flags.h"

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <ostream>
#include <string>

#include "common/base/status_macros.h"
#include "common/program/flags.h"
#include "common/program/input_file.h"
#include "common/program/run_flags.h"
#include "common/run/format_schedule.h"
#include "common/transport/endpoints.h"
#include "server/exit_codes.h"

namespace isthmus {
namespace {

constexpr char kAbout[] =
    "The coordinator of one training run: workers of every site dial in, it merges their\n"
    "contributions and sends everyone the same updates.\n\n"
    "Example: a run of two sites, 10,000 rounds:\n"
    "  isthmus-coordinator --listen 127.0.0.1:29750 --start-groups 2 --rounds 10000\n";
constexpr char kFooter[] =
    "The run's settings (scheme, chunk, k ...) live here and are sent to the workers. The\n"
    "defaults shown are those of flexdemo; another scheme has its own.\n"
    "Durations are written as 500ms, 5s, 2m or off.\n"
    "Exit codes: 0 stopped by SIGINT or SIGTERM; 1 the system gives too little: threads,\n"
    "descriptors, room for the port file; 2 wrong flags; 3 the address cannot be used.";

constexpr uint64_t kMaxRingMib = 1 << 20;

struct LimitFlags {
  std::string pace = "off";
  std::string schemes;
  std::string schedule;
  bool probe_links = false;
  std::string deadline = "60s";
  bool fixed_deadline = false;
  std::string reconnect_grace = "5s";
  uint64_t ring_mib = 256;
  uint32_t max_groups = 1024;
};

void AddProgramFlags(CLI::App* app, CoordinatorFlags* flags) {
  app->add_option("--listen", flags->server.listen, "HOST:PORT; port 0 takes a free one")
      ->check(ListenAddress())
      ->capture_default_str();
  app->add_flag("--insecure", flags->server.insecure,
                "Listen beyond loopback although there is no TLS yet");
  app->add_option("--port-file", flags->port_file,
                  "Write HOST:PORT here once listening, as it is bound");
  app->add_option(
         "--congestion-control", flags->server.congestion_control,
         "Of the kernel's, for connections: bbr, cubic ..., system for its default, or auto: "
         "bbr where it is offered")
      ->check(CongestionControl())
      ->capture_default_str();
  app->add_option("--log-level", flags->log_level, "debug, info, warning, error or off")
      ->capture_default_str();
}

void AddPaceFlags(CLI::Option_group* pace, LimitFlags* flags) {
  pace->add_flag(
      "--probe-links", flags->probe_links,
      "Fill each link for two seconds when its worker connects, to know what it carries; a "
      "run with --pace always does");
  pace->add_option(
          "--pace", flags->pace,
          "Choose chunk size and k of flexdemo, or the steps between exchanges of local, by "
          "the measured links: what comes to a loss soonest while jobs wait for links for "
          "at most this share of their time, such as 0.1, or off")
      ->check(Share())
      ->type_name("SHARE")
      ->capture_default_str();
  pace->add_option(
          "--schemes", flags->schemes,
          "A file of what your model learns with which setting, for the pace to choose between: "
          "lines of steps to a loss, over those of full averaging, and a scheme, as in '1.17 "
          "flexdemo k=2' or '0.61 local every=8'; without, what docs/schemes.md has")
      ->type_name("FILE");
  pace->add_option(
          "--schedule", flags->schedule,
          "A file of what formats rounds have: lines of a round and what is other from then "
          "on, as in '100 every=16' or '200 chunk_size=128 k=1'; instead of --pace")
      ->type_name("FILE");
}

void AddLimitFlags(CLI::Option_group* limits, LimitFlags* flags) {
  limits
      ->add_option("--deadline", flags->deadline,
                   "How long a bucket waits after its first contribution, or off; less once it is "
                   "known when contributions come")
      ->check(Patience())
      ->capture_default_str();
  limits->add_flag("--fixed-deadline", flags->fixed_deadline,
                   "Wait for as long as --deadline says, whenever contributions came before");
  limits
      ->add_option("--reconnect-grace", flags->reconnect_grace,
                   "How long a broken stream is waited for")
      ->check(Patience())
      ->capture_default_str();
  limits->add_option("--ring-mib", flags->ring_mib, "Updates kept for those who resume, MiB")
      ->check(WholeNumber(1, kMaxRingMib))
      ->capture_default_str();
  limits->add_option("--max-groups", flags->max_groups, "Groups that may register")
      ->check(WholeNumber(1, kMaxGroups))
      ->capture_default_str();
}

// Flags that can be, each by itself, but not together.
absl::Status CheckTogether(const RunSpec& spec, const LimitFlags& limits,
                           const CoordinatorServer::Options& server) {
  if (spec.start_groups > limits.max_groups) {
    return absl::InvalidArgumentError(absl::StrCat("--start-groups ", spec.start_groups,
                                                   ": no more than --max-groups ",
                                                   limits.max_groups, " can register"));
  }
  return CheckListenAddress(server.listen, server.insecure || server.credentials.authenticates());
}

absl::Status Apply(const GivenFields& run, const LimitFlags& limits, CoordinatorFlags* flags) {
  ISTHMUS_ASSIGN_OR_RETURN(const RunSpec spec, RunSpecOf(run));
  ISTHMUS_RETURN_IF_ERROR(CheckTogether(spec, limits, flags->server));
  Engine::Options& engine = flags->server.engine;
  engine.core.run = spec;
  engine.core.schemes = KnownSchemes();
  if (!limits.schemes.empty()) {
    if (!ParseShare(limits.pace)) {
      return absl::InvalidArgumentError("--schemes: a run without --pace chooses between none");
    }
    ISTHMUS_ASSIGN_OR_RETURN(
        engine.core.schemes,
        ParseInputFile("--schemes", limits.schemes, "a file of lines as '1.17 flexdemo k=2'",
                       ParseSchemes));
  }
  if (const std::optional<double> target = ParseShare(limits.pace)) {
    ISTHMUS_RETURN_IF_ERROR(CheckPaced(spec, engine.core.schemes));
    engine.core.pace = Pacer::Options{.target = *target};
  }
  if (!limits.schedule.empty()) {
    if (engine.core.pace) {
      return absl::InvalidArgumentError("--schedule: a run that is paced has none");
    }
    ISTHMUS_ASSIGN_OR_RETURN(
        engine.core.schedule,
        ParseInputFile("--schedule", limits.schedule, "a file of lines as '100 every=16'",
                       [&](absl::string_view text) { return ParseFormatSchedule(text, spec); }));
  }
  engine.core.deadline = ParsePatience(limits.deadline);
  engine.core.learn_deadline = !limits.fixed_deadline;
  engine.core.reconnect_grace = ParsePatience(limits.reconnect_grace);
  engine.core.max_groups = limits.max_groups;
  if (limits.probe_links) engine.probe_links = true;
  engine.ring_bytes = limits.ring_mib << 20;
  return absl::OkStatus();
}

}  // namespace

std::variant<CoordinatorFlags, int> ParseCoordinatorFlags(int argc, const char* const* argv,
                                                          std::ostream& out, std::ostream& errors) {
  CoordinatorFlags flags;
  flags.server.listen = kDefaultCoordinator;
  flags.log_level = "info";
  GivenFields run;
  LimitFlags limits;
  CLI::App app(kAbout, "isthmus-coordinator");
  app.footer(kFooter);
  AddProgramFlags(&app, &flags);
  AddRunFlags(app.add_option_group("The run"), &run);
  AddPaceFlags(app.add_option_group("The pace"), &limits);
  AddLimitFlags(app.add_option_group("Patience and limits"), &limits);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, errors) == 0 ? kExitOk : kExitUsage;
  }
  if (const absl::Status status = Apply(run, limits, &flags); !status.ok()) {
    errors << "isthmus-coordinator: " << status.message() << std::endl;
    return kExitUsage;
  }
  return flags;
}

}  // namespace isthmus
