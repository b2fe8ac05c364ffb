// isthmus-worker: flags, configuration, wiring.

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <random>
#include <thread>

#include "common/base/signals.h"
#include "common/kernels/simd.h"
#include "common/telemetry/log.h"
#include "common/transport/endpoints.h"
#include "worker/daemon/daemon.h"
#include "worker/step/rank_choice.h"

namespace isthmus {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitSocket = 6;
constexpr int kExitGpu = 7;

constexpr char kAbout[] =
    "The worker daemon of one site: training jobs attach to its socket, it exchanges their\n"
    "momentum with the other sites through the coordinator.\n\n"
    "Example: site 1 with two CPU ranks:\n"
    "  isthmus-worker --coordinator 127.0.0.1:29750 --group 1 --ranks cpu:2 "
    "--socket /tmp/isthmus.sock\n"
    "On GPUs: --ranks cuda:0,1 or --ranks cuda:all, one rank each.\n";
constexpr char kFooter[] =
    "Exit codes: 0 the run has ended and the job has detached, or SIGINT or SIGTERM;\n"
    "1 failure; 2 wrong flags; 3 refused by the coordinator (versions, run spec);\n"
    "4 fenced: a newer process has registered for this group;\n"
    "5 the coordinator is another instance than before, or was gone longer than\n"
    "--give-up-after; 6 the socket cannot be used;\n"
    "7 the GPUs of --ranks cannot be used: no driver, none there, or a build without CUDA.";

struct Flags {
  std::string coordinator = kDefaultCoordinator;
  uint32_t group = 1;
  std::string label;
  std::string ranks = "cpu:1";
  int threads = 0;
  std::string socket;
  std::vector<std::string> expect;
  std::string give_up_after = "10m";
  uint64_t flip_bit_at = 0;
  std::string log_level = "info";
};

uint64_t RandomNonce() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

int Fail(const absl::Status& status, int code) {
  std::cerr << "isthmus-worker: " << status.message() << std::endl;
  return code;
}

int Main(int argc, char** argv) {
  BlockStopSignals();
  CLI::App app(kAbout, "isthmus-worker");
  app.footer(kFooter);
  Flags flags;
  app.add_option("--coordinator", flags.coordinator, "HOST:PORT of the coordinator")
      ->envname("ISTHMUS_COORDINATOR")
      ->capture_default_str();
  app.add_option("--group", flags.group, "Id of this site's replica group, unique in the run")
      ->capture_default_str();
  app.add_option("--label", flags.label, "Name of the site, shown in status");
  app.add_option("--ranks", flags.ranks,
                 "Local ranks: cpu:N, cuda:all, or GPUs by index as in cuda:0,1")
      ->envname("ISTHMUS_RANKS")
      ->capture_default_str();
  app.add_option("--threads", flags.threads,
                 "Threads that compress and apply one rank's bucket; 0: the cores that ranks leave")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  app.add_option("--socket", flags.socket, "Unix socket where the job's ranks attach")
      ->envname("ISTHMUS_SOCKET")
      ->required();
  app.add_option("--expect", flags.expect,
                 "Refuse to take part unless the run has this setting: field=value, repeatable");
  app.add_option("--give-up-after", flags.give_up_after,
                 "End after so long without the coordinator, once it was reached; or off")
      ->capture_default_str();
  app.add_option("--flip-bit-at", flags.flip_bit_at,
                 "For rehearsals of the audit: flips one bit of one master after this round");
  app.add_option("--log-level", flags.log_level, "debug, info, warning, error or off")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  if (absl::Status s = SetLogLevel(flags.log_level); !s.ok()) return Fail(s, kExitUsage);
  const auto choice = ParseRankChoice(flags.ranks);
  if (!choice.ok()) return Fail(choice.status(), kExitUsage);
  if (absl::Status s = CheckSimdChoice(); !s.ok()) return Fail(s, kExitUsage);

  const auto gpus = OpenGpuPlaces(*choice);
  if (!gpus.ok()) return Fail(gpus.status(), kExitGpu);

  Daemon::Options options;
  options.coordinator = flags.coordinator;
  options.group = GroupId(flags.group);
  options.label = flags.label.empty() ? absl::StrCat("site-", flags.group) : flags.label;
  options.ranks = gpus->empty() ? choice->count : static_cast<uint32_t>(gpus->size());
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  options.threads =
      flags.threads > 0 ? flags.threads : std::max(1, cores / static_cast<int>(options.ranks));
  options.socket_path = flags.socket;
  options.expect = flags.expect;
  options.nonce = RandomNonce();
  options.flip_bit_at = Round(flags.flip_bit_at);
  if (flags.give_up_after == "off") {
    options.give_up_after = absl::InfiniteDuration();
  } else if (!absl::ParseDuration(flags.give_up_after, &options.give_up_after)) {
    return Fail(absl::InvalidArgumentError(
                    absl::StrCat("--give-up-after: expected a duration such as 10m, or off; got '",
                                 flags.give_up_after, "'")),
                kExitUsage);
  }
  if (gpus->empty()) {
    LogInfo(absl::StrCat("kernels: ", ActiveKernels().name, ", ", options.threads,
                         " threads for each of ", options.ranks, " ranks"));
  } else {
    std::string how;
    options.make_ranks = [places = *gpus, connect = ChooseConnection(*choice, gpus->size(), &how)] {
      return MakeGpuRanks(places, connect);
    };
    for (size_t rank = 0; rank < gpus->size(); ++rank) {
      options.devices.push_back((*gpus)[rank].device);
      LogInfo(absl::StrCat("rank ", rank, ": ", (*gpus)[rank].device->name()));
    }
    LogInfo(how);
  }
  auto daemon = Daemon::Start(options, Clock::Real());
  if (!daemon.ok()) return Fail(daemon.status(), kExitSocket);
  while (!(*daemon)->Ended()) {
    const int signal = WaitForStopSignal(100);
    if (signal == 0) continue;
    LogInfo(absl::StrCat("signal ", signal, ": leaving"));
    (*daemon)->Stop();
    return 0;
  }
  const Daemon::Ending ending = (*daemon)->ending();
  (*daemon)->Stop();
  if (ending.code == DaemonExit::kOk) {
    LogInfo(ending.reason);
  } else {
    LogError(ending.reason);
  }
  return static_cast<int>(ending.code);
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
