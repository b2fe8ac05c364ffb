// isthmus-coordinator: flags, configuration, wiring.

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <random>

#include "common/base/signals.h"
#include "common/kernels/simd.h"
#include "common/telemetry/log.h"
#include "common/transport/endpoints.h"
#include "server/rpc/coordinator_server.h"

namespace isthmus {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitUsage = 2;
constexpr int kExitCannotListen = 3;

constexpr char kAbout[] =
    "The coordinator of one training run: workers of every site dial in, it merges their\n"
    "contributions and sends everyone the same updates.\n\n"
    "Example: a run of two sites, 10,000 rounds:\n"
    "  isthmus-coordinator --listen 127.0.0.1:29750 --start-groups 2 --rounds 10000\n";
constexpr char kFooter[] =
    "The run's settings (scheme, chunk, k ...) live here and are sent to the workers.\n"
    "Durations are written as 500ms, 5s, 2m or off.\n"
    "Exit codes: 0 stopped by SIGINT or SIGTERM; 2 wrong flags; 3 the address cannot be used.";

struct Flags {
  std::string listen = kDefaultCoordinator;
  bool insecure = false;
  std::string port_file;
  std::string log_level = "info";
  std::string scheme = "flexdemo";
  std::string values, merge, optimizer;
  std::string deadline = "60s";
  std::string reconnect_grace = "5s";
  int64_t initial_donor = -1;
  uint64_t ring_mib = 256;
  uint32_t max_groups = 1024;
};

absl::StatusOr<absl::Duration> ParseDuration(const char* flag, const std::string& text) {
  absl::Duration duration;
  if (text == "off") return absl::InfiniteDuration();
  if (absl::ParseDuration(text, &duration) && duration > absl::ZeroDuration()) return duration;
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": expected a duration such as 60s, or off; got '", text, "'"));
}

int Fail(const absl::Status& status, int code) {
  std::cerr << "isthmus-coordinator: " << status.message() << std::endl;
  return code;
}

// Written whole or not at all, for scripts that wait for it.
absl::Status WritePortFile(const std::string& path, int port) {
  const std::string temporary = path + ".tmp";
  std::ofstream(temporary) << "127.0.0.1:" << port << "\n";
  if (std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write the port file ", path));
}

uint64_t RandomInstance() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

int Main(int argc, char** argv) {
  BlockStopSignals();
  CLI::App app(kAbout, "isthmus-coordinator");
  app.footer(kFooter);
  Flags flags;
  RunSpec given;  // what the flags say; those not given follow from the scheme
  bool sign = false, no_sign = false;
  app.add_option("--listen", flags.listen, "HOST:PORT; port 0 takes a free one")
      ->capture_default_str();
  app.add_flag("--insecure", flags.insecure, "Listen beyond loopback although there is no TLS yet");
  app.add_option("--port-file", flags.port_file, "Write HOST:PORT here once listening");
  app.add_option("--log-level", flags.log_level, "debug, info, warning, error or off")
      ->capture_default_str();
  auto* run = app.add_option_group("The run");
  run->add_option("--scheme", flags.scheme,
                  "flexdemo (compressed momentum), random, striding or slicing (parts of the "
                  "momentum, without indices), full (gradients) or none (groups train apart)")
      ->capture_default_str();
  auto* chunk =
      run->add_option("--chunk", given.format.chunk_size, "Elements of one DCT block, 16 to 4096");
  auto* k = run->add_option("--k", given.format.all.k, "Coefficients kept per chunk");
  auto* decay = run->add_option("--decay", given.decay, "Momentum decay per step");
  auto* alpha = run->add_option("--alpha", given.alpha,
                                "The share of what is sent that leaves the momentum, up to 1");
  run->add_option("--values", flags.values, "Values on the wire: f32, bf16, 4bit, 1bit or sign");
  run->add_option("--seed", given.seed, "Of the positions of scheme random")->capture_default_str();
  run->add_flag("--sign", sign, "Step by the sign of the merged direction (flexdemo's default)");
  run->add_flag("--no-sign", no_sign, "Step by the merged direction itself");
  run->add_flag("--lr-in-momentum", given.lr_in_momentum,
                "Multiply gradients by the learning rate on their way into the momentum");
  run->add_option("--merge", flags.merge, "sender-mean, mean or sum");
  run->add_option("--optimizer", flags.optimizer, "sgd or adamw");
  run->add_option("--sgd-momentum", given.optimizer.momentum, "Momentum of sgd")
      ->capture_default_str();
  run->add_option("--adam-beta1", given.optimizer.beta1, "")->capture_default_str();
  run->add_option("--adam-beta2", given.optimizer.beta2, "")->capture_default_str();
  run->add_option("--adam-epsilon", given.optimizer.epsilon, "")->capture_default_str();
  run->add_option("--bucket-length", given.bucket_length, "Elements of a bucket; 0: an eighth");
  run->add_option("--rounds", given.rounds, "The run ends with this round; 0: no end")
      ->capture_default_str();
  run->add_option("--start-groups", given.start_groups, "Groups that must be ready before round 1")
      ->capture_default_str();
  run->add_option("--min-groups", given.min_groups, "Answers needed to commit")
      ->capture_default_str();
  run->add_option("--initial-donor", flags.initial_donor,
                  "Group whose parameters all start from; default: the lowest id");
  auto* audit =
      run->add_option("--audit-rounds", given.audit_rounds,
                      "Rounds from one comparison of all groups' states to the next; 0: none")
          ->capture_default_str();
  auto* limits = app.add_option_group("Patience and limits");
  limits
      ->add_option("--deadline", flags.deadline,
                   "How long a bucket waits after its first contribution, or off")
      ->capture_default_str();
  limits
      ->add_option("--reconnect-grace", flags.reconnect_grace,
                   "How long a broken stream is waited for")
      ->capture_default_str();
  limits->add_option("--ring-mib", flags.ring_mib, "Updates kept for those who resume, MiB")
      ->capture_default_str();
  limits->add_option("--max-groups", flags.max_groups, "Groups that may register")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitUsage;
  }
  if (absl::Status s = SetLogLevel(flags.log_level); !s.ok()) return Fail(s, kExitUsage);

  const auto scheme = ParseScheme(flags.scheme);
  if (!scheme.ok()) return Fail(scheme.status(), kExitUsage);
  RunSpec spec = given;
  const RunSpec defaults = DefaultRunSpec(*scheme);
  spec.scheme = *scheme;
  if (chunk->empty()) spec.format.chunk_size = defaults.format.chunk_size;
  if (k->empty())
    spec.format.all.k = defaults.format.all.k == defaults.format.chunk_size ? spec.format.chunk_size
                                                                            : defaults.format.all.k;
  if (decay->empty()) spec.decay = defaults.decay;
  if (alpha->empty()) spec.alpha = defaults.alpha;
  if (audit->empty()) spec.audit_rounds = defaults.audit_rounds;
  spec.sign = sign || (defaults.sign && !no_sign);
  spec.format.all.values = defaults.format.all.values;
  spec.merge = defaults.merge;
  spec.optimizer.kind = defaults.optimizer.kind;
  if (!flags.values.empty()) {
    const auto values = ParseValueFormat(flags.values);
    if (!values.ok()) return Fail(values.status(), kExitUsage);
    spec.format.all.values = *values;
  }
  if (!flags.merge.empty()) {
    const auto merge = ParseMergeRule(flags.merge);
    if (!merge.ok()) return Fail(merge.status(), kExitUsage);
    spec.merge = *merge;
  }
  if (!flags.optimizer.empty()) {
    const auto optimizer = ParseOptimizerKind(flags.optimizer);
    if (!optimizer.ok()) return Fail(optimizer.status(), kExitUsage);
    spec.optimizer.kind = *optimizer;
  }
  if (flags.initial_donor >= 0) {
    spec.initial_donor = GroupId(static_cast<uint32_t>(flags.initial_donor));
  }
  const auto deadline = ParseDuration("--deadline", flags.deadline);
  if (!deadline.ok()) return Fail(deadline.status(), kExitUsage);
  const auto grace = ParseDuration("--reconnect-grace", flags.reconnect_grace);
  if (!grace.ok()) return Fail(grace.status(), kExitUsage);
  if (absl::Status s = Validate(spec); !s.ok()) return Fail(s, kExitUsage);
  if (absl::Status s = CheckSimdChoice(); !s.ok()) return Fail(s, kExitUsage);

  CoordinatorServer::Options options;
  options.listen = flags.listen;
  options.insecure = flags.insecure;
  options.engine.core.run = spec;
  options.engine.core.instance = RandomInstance();
  options.engine.core.deadline = *deadline;
  options.engine.core.reconnect_grace = *grace;
  options.engine.core.max_groups = flags.max_groups;
  options.engine.ring_bytes = flags.ring_mib << 20;
  auto server = CoordinatorServer::Start(options, Clock::Real());
  if (!server.ok()) return Fail(server.status(), kExitCannotListen);
  LogInfo(absl::StrCat("listening on port ", (*server)->port(), ", run instance ",
                       options.engine.core.instance));
  if (!flags.port_file.empty()) {
    absl::Status s = WritePortFile(flags.port_file, (*server)->port());
    if (!s.ok()) return Fail(s, kExitCannotListen);
  }
  const int signal = WaitForStopSignal(-1);
  LogInfo(absl::StrCat("signal ", signal, ": shutting down"));
  (*server)->Shutdown(absl::Seconds(1));
  return kExitOk;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
