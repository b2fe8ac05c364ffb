// The tool `isthmus`: flags to options, and the choice of subcommand; nothing else.
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "cli/base/exit_codes.h"
#include "cli/base/signals.h"
#include "cli/bench/bench_command.h"
#include "cli/link/link_command.h"
#include "cli/plan/plan_command.h"
#include "cli/probe/probe_command.h"
#include "cli/rehearse/flags.h"
#include "cli/rehearse/rehearse.h"
#include "cli/status/pace_command.h"
#include "cli/status/status_command.h"
#include "common/base/process_limits.h"
#include "common/program/flags.h"
#include "common/transport/endpoints.h"

namespace isthmus {
namespace {

// Of a link's loop, and of what a figure of the bench needs beside it.
constexpr int kOwnThreads = 2;

constexpr const char* kExitCodes = R"(Exit codes:
  0    done; for rehearse: the run finished and all replicas are bit-identical
  1    failure: the message says which program or call; or too few threads; for pace: there is none
  2    a flag or its value is wrong
  3    no coordinator answers
  4    the run finished, but the replicas' state hashes differ or are missing
  130  ended by Ctrl-C, 143 by SIGTERM (rehearse: every child has ended by then))";

constexpr const char* kExamples = R"(Examples:
  isthmus rehearse --text book.txt                       two sites, two ranks each
  isthmus status --watch 2                               how a running coordinator is doing
  isthmus probe 10.0.0.5:29750                           what the path to it carries
  isthmus link --to 10.0.0.5:29750 --link 50mbit/80ms    a thin link to it
  isthmus plan --params 124M --step-time 0.5s            which scheme for which link
`isthmus COMMAND --help` tells more.
)";

constexpr const char* kStatusExamples = R"(Examples:
  isthmus status
  isthmus status --coordinator 10.0.0.5:29750 --watch 2
  isthmus status --json | jq '.groups[] | {label, state}')";

constexpr const char* kLinkHelp =
    R"(RATE/DELAY is per direction and one-way: 10mbit/40ms means 10 Mbit/s each way and 80 ms for a round
trip. UP:DOWN/DELAY gives each direction its rate, up being from the connecting client to --to.
"none" forwards unshaped. All connections share the link. Ends with Ctrl-C.
Examples:
  isthmus link --to 127.0.0.1:29750 --link 10mbit/40ms
  isthmus link --listen 127.0.0.1:4000 --to example.org:80 --link 1mbit:20mbit/30ms)";

constexpr const char* kPlanHelp =
    R"(Bytes follow from the formats; times are those of a link that is used well, at the site that waits the
longest, without what compressing takes. Steps are what docs/schemes.md measured with one small model,
in those of full averaging with AdamW, and an order of magnitude for others; with `Muon` the job steps
by that. The time to a loss is steps times a step's time, in that of the best scheme.
Examples:
  isthmus plan --params 124M --step-time 0.5s --link 10mbit/40ms --sites 4
  isthmus plan --params 1.3B --step-time 800ms --link 100mbit/20ms,20mbit:100mbit/60ms
  isthmus plan --params 7B --step-time 2s --json | jq '.schemes[0].flags')";

constexpr const char* kProbeHelp =
    R"(Through a connection like a worker's, for some seconds: round trips of small calls, then ever larger
ones each way. Asks a coordinator, whether a run is under way or not; what it is sending meanwhile shares
the path. With --params and --step-time it goes on as `isthmus plan` does, for sites with such links.
Examples:
  isthmus probe 10.0.0.5:29750
  isthmus probe 10.0.0.5:29750 --params 124M --step-time 0.5s --sites 4
  isthmus probe 10.0.0.5:29750 --json | jq .link)";

constexpr const char* kPaceHelp =
    R"(Of a run whose coordinator has --pace. Frozen, rounds keep the settings that they have, whatever links do:
for maintenance, or to measure one setting. A coordinator that is started again goes on by itself.
Examples:
  isthmus pace --freeze
  isthmus pace --coordinator 10.0.0.5:29750 --thaw)";

constexpr const char* kBenchHelp =
    R"(Times are ratios within this process, so a busy machine disturbs them less than seconds. ISTHMUS_SIMD
(scalar, sse2, avx2, avx512; neon) chooses the instruction set.
Examples:
  isthmus bench
  ISTHMUS_SIMD=scalar isthmus bench --parameters 4 --json figures.json)";

void AddStatus(CLI::App* app, StatusOptions* options) {
  app->add_option("--coordinator", options->coordinator, "Whom to ask, HOST:PORT")
      ->envname("ISTHMUS_COORDINATOR")
      ->check(DialAddress())
      ->capture_default_str();
  app->add_flag("--json", options->json, "The message as JSON, one line each with --watch");
  app->add_option("--watch", options->watch_seconds, "Ask again every SECONDS until Ctrl-C")
      ->check(FiniteNumber())  // a range has room for NaN
      ->check(CLI::Range(0.1, 86400.0));
  app->footer(kStatusExamples);
}

void AddLink(CLI::App* app, LinkOptions* options) {
  app->add_option("--listen", options->listen, "Where clients connect; port 0: any free one")
      ->check(ListenAddress())
      ->capture_default_str();
  app->add_option("--to", options->to, "Where to forward, HOST:PORT")
      ->check(DialAddress())
      ->required();
  app->add_option("--link", options->link, "What the link is like: none, RATE or RATE/DELAY")
      ->capture_default_str();
  app->footer(kLinkHelp);
}

void AddPlan(CLI::App* app, PlanFlags* flags) {
  app->add_option("--params", flags->parameters, "Of the model: 124M, 1.3B")->required();
  app->add_option("--step-time", flags->step, "Of a step without any exchange: 0.5s, 300ms")
      ->required();
  app->add_option("--link", flags->links,
                  "Of each site to the coordinator, as of `isthmus link`; one, or one each")
      ->capture_default_str();
  app->add_option("--sites", flags->sites,
                  "How many; with one --link, all of them have it (default: 2)")
      ->check(WholeNumber(1, 1024));
  app->add_option("--target", flags->target,
                  "The share of a step that a pace may have the job wait for the link")
      ->check(FiniteNumber())
      ->check(CLI::Range(0.001, 0.999))
      ->capture_default_str();
  app->add_option("--schemes", flags->schemes,
                  "A file of what your model learns with which setting, as isthmus-coordinator "
                  "takes it")
      ->type_name("FILE");
  app->add_flag("--json", flags->json, "All of it as JSON");
  app->footer(kPlanHelp);
}

void AddProbe(CLI::App* app, ProbeOptions* options) {
  app->add_option("coordinator", options->coordinator, "Whom to ask, HOST:PORT")
      ->envname("ISTHMUS_COORDINATOR")
      ->check(DialAddress())
      ->required();
  CLI::Option* const parameters =
      app->add_option("--params", options->plan.parameters, "Of the model: 124M, 1.3B");
  CLI::Option* const step = app->add_option("--step-time", options->plan.step,
                                            "Of a step without any exchange: 0.5s, 300ms");
  parameters->needs(step);
  step->needs(parameters);
  app->add_option("--sites", options->plan.sites, "How many with such a link (default: 2)")
      ->check(WholeNumber(1, 1024))
      ->needs(parameters);
  app->add_flag("--json", options->json, "The figures of the path as JSON")->excludes(parameters);
  app->footer(kProbeHelp);
}

void AddPace(CLI::App* app, PaceOptions* options) {
  app->add_option("--coordinator", options->coordinator, "HOST:PORT")
      ->envname("ISTHMUS_COORDINATOR")
      ->check(DialAddress())
      ->capture_default_str();
  CLI::Option_group* const what = app->add_option_group("What");
  what->add_flag("--freeze", options->freeze, "Keep the settings that rounds have, until --thaw");
  what->add_flag("--thaw", options->thaw, "Choose again");
  what->require_option(1);
  app->footer(kPaceHelp);
}

void AddBench(CLI::App* app, BenchCommandOptions* options) {
  app->add_option("--parameters", options->mebi_parameters, "Length of the vector, in 1,048,576")
      ->check(WholeNumber(1, 4096))
      ->capture_default_str();
  app->add_option("--repeats", options->repeats, "How often each is timed; the median counts")
      ->check(WholeNumber(1, 1000))
      ->capture_default_str();
  app->add_option("--json", options->json,
                  "Also write a list of {name, value, unit, must, stretch} to this file");
  app->footer(kBenchHelp);
}

int Rehearse(const RehearseFlags& flags, Signals& signals) {
  absl::StatusOr<RehearseOptions> options = ParseRehearseFlags(flags);
  absl::Status status = options.status();
  if (status.ok()) status = ReadLinkTraces(&*options);
  if (!status.ok()) {
    std::cerr << "isthmus rehearse: " << status.message() << std::endl;
    return kExitUsage;
  }
  return RunRehearse(*options, signals, isatty(STDERR_FILENO) == 1, std::cout, std::cerr);
}

// What the command line says: a subcommand of seven, and its options.
struct Commands {
  CLI::App* rehearse = nullptr;
  CLI::App* status = nullptr;
  CLI::App* link = nullptr;
  CLI::App* plan = nullptr;
  CLI::App* probe = nullptr;
  CLI::App* pace = nullptr;
  CLI::App* bench = nullptr;
  RehearseFlags rehearse_flags;
  StatusOptions status_options;
  LinkOptions link_options;
  PlanFlags plan_flags;
  ProbeOptions probe_options;
  PaceOptions pace_options;
  BenchCommandOptions bench_options;
};

void AddCommands(CLI::App* app, Commands* commands) {
  app->require_subcommand(1);
  app->footer(std::string(kExamples) + kExitCodes);
  app->set_version_flag("--version", ISTHMUS_VERSION);
  commands->rehearse = app->add_subcommand(
      "rehearse", "Run a whole deployment on this host, with the real programs");
  commands->status =
      app->add_subcommand("status", "Ask a running coordinator how the run is going");
  commands->link = app->add_subcommand("link", "Forward TCP as a thin link would");
  commands->plan = app->add_subcommand("plan", "What each scheme costs over the links one has");
  commands->probe =
      app->add_subcommand("probe", "What the path to a coordinator carries, and how far it is");
  commands->pace = app->add_subcommand("pace", "Have a run's pace keep what there is, or go on");
  commands->bench =
      app->add_subcommand("bench", "Measure the codec on this machine, as ratios to a memory copy");
  AddRehearseFlags(commands->rehearse, &commands->rehearse_flags);
  commands->rehearse->footer(std::string(RehearseExamples()) + kExitCodes);
  AddStatus(commands->status, &commands->status_options);
  AddLink(commands->link, &commands->link_options);
  AddPlan(commands->plan, &commands->plan_flags);
  AddProbe(commands->probe, &commands->probe_options);
  AddPace(commands->pace, &commands->pace_options);
  AddBench(commands->bench, &commands->bench_options);
}

// Gives the exit code if there is nothing to run.
std::optional<int> Parse(int argc, char** argv, CLI::App* app, Commands* commands) {
  // What follows "--" is another program's command line and none of the parser's business.
  char** const end = argv + argc;
  char** const dashes =
      std::find_if(argv, end, [](const char* text) { return std::strcmp(text, "--") == 0; });
  std::vector<std::string>& command = commands->rehearse_flags.command;
  if (dashes != end) command.assign(dashes + 1, end);
  try {
    app->parse(static_cast<int>(dashes - argv), argv);
  } catch (const CLI::ParseError& error) {
    return app->exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (dashes != end && (!commands->rehearse->parsed() || command.empty())) {
    std::cerr << "isthmus: expected a command after --, and rehearse before it" << std::endl;
    return kExitUsage;
  }
  return std::nullopt;
}

// Before anything has begun: gRPC aborts when it is refused a thread.
absl::Status CheckThreadsFor(const Commands& commands) {
  const bool speaks_grpc = commands.rehearse->parsed() || commands.status->parsed() ||
                           commands.probe->parsed() || commands.pace->parsed();
  return CheckThreads(kOwnThreads + (speaks_grpc ? MaxGrpcThreads() : 0));
}

int Run(const Commands& commands) {
  if (commands.bench->parsed()) return RunBench(commands.bench_options, std::cout, std::cerr);
  if (commands.plan->parsed()) return RunPlan(commands.plan_flags, std::cout, std::cerr);
  // Before any thread that stays, so that all inherit the mask.
  Signals signals;
  if (commands.rehearse->parsed()) return Rehearse(commands.rehearse_flags, signals);
  if (commands.status->parsed()) {
    return RunStatus(commands.status_options, signals, isatty(STDOUT_FILENO) == 1, std::cout,
                     std::cerr);
  }
  if (commands.probe->parsed()) {
    return RunProbe(commands.probe_options, signals, std::cout, std::cerr);
  }
  if (commands.pace->parsed()) {
    return RunPace(commands.pace_options, signals, std::cout, std::cerr);
  }
  return RunLink(commands.link_options, signals, std::cout, std::cerr);
}

// A success whose words nobody could read is none. A reader that has gone (`| head`) had enough.
int CheckOutput(int code) {
  std::cout.flush();
  pollfd polled{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  const bool reader_gone = poll(&polled, 1, 0) > 0 && (polled.revents & POLLERR) != 0;
  if (std::cout.good() || reader_gone) return code;
  std::cerr << "isthmus: cannot write all of the output" << std::endl;
  return code == kExitOk ? kExitFailure : code;
}

int Main(int argc, char** argv) {
  CLI::App app("Isthmus trains one model at several sites over thin links.", "isthmus");
  Commands commands;
  AddCommands(&app, &commands);
  if (const std::optional<int> code = Parse(argc, argv, &app, &commands)) return *code;
  if (const absl::Status status = CheckThreadsFor(commands); !status.ok()) {
    std::cerr << "isthmus: " << status.message() << std::endl;
    ExitAtOnce(kExitFailure);
  }
  return CheckOutput(Run(commands));
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
