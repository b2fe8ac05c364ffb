// isthmus-worker: flags, configuration, wiring.

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <variant>
#include <vector>

#include "common/base/printable.h"
#include "common/base/process_limits.h"
#include "common/base/signals.h"
#include "common/kernels/simd.h"
#include "common/program/flags.h"
#include "common/run/run_spec.h"
#include "common/telemetry/log.h"
#include "common/transport/connection_socket.h"
#include "common/transport/endpoints.h"
#include "common/transport/socket_mutator.h"
#include "worker/daemon/daemon.h"
#include "worker/jobs/socket_access.h"
#include "worker/site/follower.h"
#include "worker/site/site_leader.h"
#include "worker/step/bit_flip.h"
#include "worker/step/cpu_ranks.h"
#include "worker/step/rank_choice.h"

namespace isthmus {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitSocket = 6;
constexpr int kExitGpu = 7;

// As control.proto has it.
constexpr size_t kMaxLabelBytes = 64;
constexpr uint64_t kMaxRound = 1'000'000'000'000;

constexpr char kAbout[] =
    "The worker daemon of one site: training jobs attach to its socket, it exchanges their\n"
    "momentum with the other sites through the coordinator.\n\n"
    "Example: site 1 with two CPU ranks:\n"
    "  isthmus-worker --coordinator 127.0.0.1:29750 --group 1 --ranks cpu:2 "
    "--socket /tmp/isthmus.sock\n"
    "On GPUs: --ranks cuda:0,1 or --ranks cuda:all, one rank each.\n\n"
    "A site of several machines with GPUs can be one group, its ranks connected by NCCL. One "
    "daemon\n"
    "leads, on each other machine one follows, with a socket for its part of the job:\n"
    "  a$ isthmus-worker --coordinator ... --group 1 --ranks cuda:all --socket ... \\\n"
    "       --machines 2 --listen 10.0.0.1:29760 --insecure\n"
    "  b$ isthmus-worker --leader 10.0.0.1:29760 --machine 1 --ranks cuda:all --socket ...\n";
constexpr char kFooter[] =
    "Exit codes: 0 the run has ended and the job has detached, or SIGINT or SIGTERM;\n"
    "1 failure, or the system gives too few threads; 2 wrong flags;\n"
    "3 refused by the coordinator (versions, run spec, or a message);\n"
    "4 fenced: a newer process has registered for this group;\n"
    "5 the coordinator is another instance than before, or was gone longer than\n"
    "--give-up-after; 6 the socket, or --listen, cannot be used;\n"
    "7 the GPUs of --ranks cannot be used: no driver, none there, a build without CUDA, or no\n"
    "NCCL where several machines need it; 8 another machine of this site is gone: start again.\n"
    "With --leader: 0 the run has ended and the job has detached, or SIGINT or SIGTERM; 3 refused\n"
    "by the leader; 1, 2, 6 and 7 as above.";

struct Flags {
  std::string coordinator = kDefaultCoordinator;
  uint32_t group = 1;
  std::string label;
  std::string ranks = "cpu:1";
  int threads = 0;
  std::string socket;
  std::string socket_mode;
  std::string socket_group;
  std::vector<std::string> expect;
  std::string give_up_after = "10m";
  uint64_t flip_bit_at = 0;
  uint32_t machines = 1;
  std::string listen = "127.0.0.1:29760";
  bool insecure = false;
  std::string leader;
  uint32_t machine = 0;
  std::string congestion_control = kAutoCongestion;
  std::string max_uplink = "off";
  std::string log_level = "info";

  // Of a group on several machines.
  bool spanning() const { return machines > 1 || !leader.empty(); }
};

// What --ranks gives.
struct Ranks {
  uint32_t count = 0;
  int threads = 0;  // for each, on CPUs
  std::function<std::unique_ptr<LocalRanks>()> make;
  std::vector<std::shared_ptr<Device>> devices;  // of GPUs
};

uint64_t RandomNonce() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

int Fail(const absl::Status& status, int code) {
  // A refusal is a peer's text.
  std::cerr << "isthmus-worker: " << PrintableLines(status.message()) << std::endl;
  return code;
}

// Gives the exit code if there is nothing to run.
std::optional<int> ParseFlags(int argc, char** argv, Flags* flags) {
  CLI::App app(kAbout, "isthmus-worker");
  app.footer(kFooter);
  app.add_option("--coordinator", flags->coordinator, "HOST:PORT of the coordinator")
      ->envname("ISTHMUS_COORDINATOR")
      ->check(DialAddress())
      ->capture_default_str();
  CLI::Option* group =
      app.add_option("--group", flags->group, "Id of this site's replica group, unique in the run")
          ->check(WholeNumber(0, kMaxUint32))
          ->capture_default_str();
  CLI::Option* label =
      app.add_option("--label", flags->label, "Name of the site, shown in status; up to 64 bytes")
          ->check(PrintableText(kMaxLabelBytes));
  app.add_option("--ranks", flags->ranks,
                 "Local ranks: cpu:N, cuda:all, or GPUs by index as in cuda:0,1")
      ->envname("ISTHMUS_RANKS")
      ->capture_default_str();
  app.add_option("--threads", flags->threads,
                 "Threads that compress and apply one rank's bucket; 0: the cores that ranks leave")
      ->check(WholeNumber(0, 256))
      ->capture_default_str();
  app.add_option("--socket", flags->socket, "Unix socket where the job's ranks attach")
      ->envname("ISTHMUS_SOCKET")
      ->required();
  app.add_option("--socket-mode", flags->socket_mode,
                 "Who may attach, in octal: 0600, this user alone, or 0660 with --socket-group, "
                 "unless it says otherwise. Whoever may attach reads and trains the model");
  app.add_option("--socket-group", flags->socket_group,
                 "Group of the socket, by name or number: its members may attach");
  CLI::Option* expect = app.add_option(
      "--expect", flags->expect,
      "Refuse to take part unless the run has this setting: field=value, repeatable");
  expect->check(
      [](const std::string& text) { return std::string(CheckExpectation(text).message()); });
  CLI::Option* give_up =
      app.add_option("--give-up-after", flags->give_up_after,
                     "End after so long without the coordinator, once it was reached; or off")
          ->check(Patience())
          ->capture_default_str();
  CLI::Option* flip =
      app.add_option("--flip-bit-at", flags->flip_bit_at,
                     "For rehearsals of the audit: flips one bit of one master after this round")
          ->check(WholeNumber(0, kMaxRound));
  CLI::Option* machines =
      app.add_option("--machines", flags->machines,
                     "Machines of this site whose ranks are one group, this one included")
          ->check(WholeNumber(1, SiteLeader::kMaxMachines))
          ->capture_default_str();
  CLI::Option* listen =
      app.add_option("--listen", flags->listen, "HOST:PORT where those others join")
          ->check(ListenAddress())
          ->capture_default_str();
  CLI::Option* insecure =
      app.add_flag("--insecure", flags->insecure,
                   "Listen on other than loopback: without TLS, on a network you trust");
  CLI::Option* leader =
      app.add_option("--leader", flags->leader,
                     "Follow the daemon that listens at this HOST:PORT, as one more machine of its "
                     "group")
          ->check(DialAddress())
          ->excludes(group, label, expect, give_up, flip, machines, listen, insecure);
  CLI::Option* machine =
      app.add_option("--machine", flags->machine, "With --leader: which one, from 1")
          ->check(WholeNumber(1, SiteLeader::kMaxMachines - 1))
          ->needs(leader);
  leader->needs(machine);
  app.add_option(
         "--congestion-control", flags->congestion_control,
         "Of the kernel's, for the stream to the coordinator: bbr, cubic ..., system for its "
         "default, or auto: bbr where it is offered")
      ->check(CongestionControl())
      ->capture_default_str();
  app.add_option("--max-uplink", flags->max_uplink,
                 "What the stream to the coordinator may send at most, such as 20mbit, or off; a "
                 "pace then goes by that")
      ->check(RateLimit())
      ->type_name("RATE")
      ->capture_default_str();
  app.add_option("--log-level", flags->log_level, "debug, info, warning, error or off")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  return std::nullopt;
}

// Errors: an exit code, which has been told why.
std::variant<Ranks, int> OpenRanks(const Flags& flags) {
  const auto choice = ParseRankChoice(flags.ranks);
  if (!choice.ok()) return Fail(choice.status(), kExitUsage);
  if (absl::Status s = CheckSimdChoice(); !s.ok()) return Fail(s, kExitUsage);
  const auto gpus = OpenGpuPlaces(*choice);
  if (!gpus.ok()) return Fail(gpus.status(), kExitGpu);

  Ranks ranks;
  ranks.count = gpus->empty() ? choice->count : static_cast<uint32_t>(gpus->size());
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  ranks.threads =
      flags.threads > 0 ? flags.threads : std::max(1, cores / static_cast<int>(ranks.count));
  if (gpus->empty()) {
    ranks.make = [count = ranks.count, threads = ranks.threads] {
      return MakeCpuRanks(count, threads);
    };
    if (flags.spanning()) return Fail(ranks.make()->Invite().status(), kExitUsage);
    LogInfo(absl::StrCat("kernels: ", ActiveKernels().name, ", ", ranks.threads,
                         " threads for each of ", ranks.count, " ranks"));
    return ranks;
  }
  std::string how;
  const auto connector = ChooseConnection(*choice, gpus->size(), flags.spanning(), &how);
  for (size_t rank = 0; rank < gpus->size(); ++rank) {
    ranks.devices.push_back((*gpus)[rank].device);
    LogInfo(absl::StrCat("rank ", rank, ": ", (*gpus)[rank].device->name()));
  }
  LogInfo(how);
  if (absl::Status s = connector->CheckSpans(); flags.spanning() && !s.ok()) {
    return Fail(s, kExitGpu);
  }
  ranks.make = [places = *gpus, connector] { return MakeGpuRanks(places, connector); };
  return ranks;
}

// `make`, but that a bit flips where that is asked for.
std::function<std::unique_ptr<LocalRanks>()> WithFlip(
    const Flags& flags, std::function<std::unique_ptr<LocalRanks>()> make) {
  if (flags.flip_bit_at == 0) return make;
  LogWarning(absl::StrCat("--flip-bit-at: one bit of one master will flip after round ",
                          flags.flip_bit_at));
  return [make = std::move(make), after = Round(flags.flip_bit_at)] {
    return FlipBitAfter(after, make());
  };
}

// What the daemon and the libraries below it will start, ranks and their helpers included: asked
// for before anything has begun, since gRPC aborts when it is refused one.
absl::Status CheckThreadsFor(const Flags& flags, const Ranks& ranks) {
  // Of a rank: itself, its helpers, and who sends or waits for it. Of the daemon: control, jobs,
  // exchange; of a site on several machines one or two for each of them.
  const int per_rank = std::max(ranks.threads, 1) + 2;
  const int own = 8 + 2 * static_cast<int>(flags.machines);
  return CheckThreads(MaxGrpcThreads() + static_cast<int>(ranks.count) * per_rank + own);
}

// Until `ended` has an exit code, or a signal comes.
int AwaitEnd(const std::function<std::optional<int>()>& ended) {
  while (true) {
    const int signal = WaitForStopSignal(100);
    if (signal != 0) {
      LogInfo(absl::StrCat("signal ", signal, ": leaving"));
      return 0;
    }
    if (const std::optional<int> code = ended()) return *code;
  }
}

// Why a daemon could not start; the socket is the usual reason.
int FailToStart(const absl::Status& status) {
  return Fail(status,
              status.code() == absl::StatusCode::kResourceExhausted ? kExitFailure : kExitSocket);
}

int RunDaemon(const Flags& flags, const SocketAccess& access, const Ranks& ranks) {
  Daemon::Options options;
  options.coordinator = flags.coordinator;
  options.group = GroupId(flags.group);
  options.label = flags.label.empty() ? absl::StrCat("site-", flags.group) : flags.label;
  options.stream.congestion_control =
      ResolveCongestionControl(flags.congestion_control).value_or(std::string());
  options.stream.little_unsent = true;
  options.stream.max_bytes_per_second = ParseRateLimit(flags.max_uplink);
  options.ranks = ranks.count;
  options.make_ranks = WithFlip(flags, ranks.make);
  options.devices = ranks.devices;
  options.threads = ranks.threads;
  options.site = {flags.machines, flags.listen, flags.insecure};
  options.socket_path = flags.socket;
  options.socket_access = access;
  options.expect = flags.expect;
  options.nonce = RandomNonce();
  options.give_up_after = ParsePatience(flags.give_up_after);
  auto daemon = Daemon::Start(options, Clock::Real());
  if (!daemon.ok()) return FailToStart(daemon.status());
  const int code = AwaitEnd([&]() -> std::optional<int> {
    if (!(*daemon)->Ended()) return std::nullopt;
    const Daemon::Ending ending = (*daemon)->ending();
    if (ending.code == DaemonExit::kOk) {
      LogInfo(ending.reason);
    } else {
      LogError(ending.reason);
    }
    return static_cast<int>(ending.code);
  });
  (*daemon)->Stop();
  return code;
}

int RunFollower(const Flags& flags, const SocketAccess& access, const Ranks& ranks) {
  auto follower = Follower::Start({.leader = flags.leader,
                                   .machine = flags.machine,
                                   .ranks = ranks.count,
                                   .make_ranks = ranks.make,
                                   .jobs = {.socket_path = flags.socket,
                                            .socket_access = access,
                                            .ranks = ranks.count,
                                            .name = absl::StrCat("machine ", flags.machine),
                                            .devices = ranks.devices}});
  if (!follower.ok()) return FailToStart(follower.status());
  const int code = AwaitEnd([&]() -> std::optional<int> {
    const std::optional<absl::Status> ended = (*follower)->Ended();
    if (!ended) return std::nullopt;
    if (!ended->ok()) return Fail(*ended, static_cast<int>(DaemonExit::kRefused));
    LogInfo("the run has ended");
    return 0;
  });
  (*follower)->Stop();
  return code;
}

int Main(int argc, char** argv) {
  BlockStopSignals();
  RaiseDescriptorLimit();
  Flags flags;
  if (const std::optional<int> code = ParseFlags(argc, argv, &flags)) return *code;
  if (absl::Status s = SetLogLevel(flags.log_level); !s.ok()) return Fail(s, kExitUsage);
  if (ParseRateLimit(flags.max_uplink) > 0 && !CanConfigureConnections()) {
    return Fail(absl::UnimplementedError("--max-uplink: this build's gRPC does not let it be set"),
                kExitUsage);
  }
  const auto access = ParseSocketAccess(flags.socket_mode, flags.socket_group);
  if (!access.ok()) return Fail(access.status(), kExitUsage);
  const std::variant<Ranks, int> ranks = OpenRanks(flags);
  if (const int* code = std::get_if<int>(&ranks)) return *code;
  if (absl::Status s = CheckThreadsFor(flags, std::get<Ranks>(ranks)); !s.ok()) {
    ExitAtOnce(Fail(s, kExitFailure));
  }
  return flags.leader.empty() ? RunDaemon(flags, *access, std::get<Ranks>(ranks))
                              : RunFollower(flags, *access, std::get<Ranks>(ranks));
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
