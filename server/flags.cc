#include "server/flags.h"

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <ostream>

#include "common/base/status_macros.h"
#include "common/program/flags.h"
#include "common/run/run_spec.h"
#include "common/tensor/layout.h"
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
    "The run's settings (scheme, chunk, k ...) live here and are sent to the workers.\n"
    "Durations are written as 500ms, 5s, 2m or off.\n"
    "Exit codes: 0 stopped by SIGINT or SIGTERM; 1 the system gives too little: threads,\n"
    "descriptors, room for the port file; 2 wrong flags; 3 the address cannot be used.";

// So many that a run never gets there, and so few that sums of them do not overflow.
constexpr uint64_t kMaxRounds = 1'000'000'000'000;
constexpr uint64_t kMaxRingMib = 1 << 20;
constexpr uint64_t kMaxGroups = 1 << 16;
constexpr uint64_t kMaxAuditRounds = 1'000'000;
constexpr uint64_t kMinChunk = 16, kMaxChunk = 4096;

// Of the run, as given. What is not given follows from the scheme.
struct RunFlags {
  std::string scheme = "flexdemo";
  std::optional<uint32_t> chunk, k, audit_rounds, initial_donor;
  std::optional<float> decay, alpha;
  std::optional<std::string> values, merge, optimizer;
  bool sign = false, no_sign = false;
  RunSpec fixed;  // those whose defaults are the same for every scheme
};

struct LimitFlags {
  std::string deadline = "60s";
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
  app->add_option("--log-level", flags->log_level, "debug, info, warning, error or off")
      ->capture_default_str();
}

// What is exchanged, and how.
void AddSchemeFlags(CLI::Option_group* run, RunFlags* flags) {
  run->add_option("--scheme", flags->scheme,
                  "flexdemo (compressed momentum), random, striding or slicing (parts of the "
                  "momentum, without indices), full (gradients) or none (groups train apart)")
      ->capture_default_str();
  run->add_option("--chunk", flags->chunk, "Elements of one DCT block, 16 to 4096")
      ->check(WholeNumber(kMinChunk, kMaxChunk));
  run->add_option("--k", flags->k, "Coefficients kept per chunk")->check(WholeNumber(1, kMaxChunk));
  run->add_option("--decay", flags->decay, "Momentum decay per step")->check(FiniteNumber());
  run->add_option("--alpha", flags->alpha,
                  "The share of what is sent that leaves the momentum, up to 1")
      ->check(FiniteNumber());
  run->add_option("--values", flags->values, "Values on the wire: f32, bf16, 4bit, 1bit or sign");
  run->add_option("--seed", flags->fixed.seed, "Of the positions of scheme random")
      ->check(WholeNumber(0, kMaxUint64))
      ->capture_default_str();
  CLI::Option* sign = run->add_flag(
      "--sign", flags->sign, "Step by the sign of the merged direction (flexdemo's default)");
  run->add_flag("--no-sign", flags->no_sign, "Step by the merged direction itself")->excludes(sign);
  run->add_flag("--lr-in-momentum", flags->fixed.lr_in_momentum,
                "Multiply gradients by the learning rate on their way into the momentum");
  run->add_option("--merge", flags->merge, "sender-mean, mean or sum");
}

void AddOptimizerFlags(CLI::Option_group* run, RunFlags* flags) {
  OptimizerSpec& optimizer = flags->fixed.optimizer;
  run->add_option("--optimizer", flags->optimizer, "sgd or adamw");
  for (const auto& [name, value, help] :
       {std::tuple{"--sgd-momentum", &optimizer.momentum, "Momentum of sgd"},
        {"--adam-beta1", &optimizer.beta1, ""},
        {"--adam-beta2", &optimizer.beta2, ""},
        {"--adam-epsilon", &optimizer.epsilon, ""}}) {
    run->add_option(name, *value, help)->check(FiniteNumber())->capture_default_str();
  }
}

void AddCourseFlags(CLI::Option_group* run, RunFlags* flags) {
  RunSpec& fixed = flags->fixed;
  run->add_option("--bucket-length", fixed.bucket_length, "Elements of a bucket; 0: an eighth")
      ->check(WholeNumber(0, kMaxFlatLength));
  run->add_option("--rounds", fixed.rounds, "The run ends with this round; 0: no end")
      ->check(WholeNumber(0, kMaxRounds))
      ->capture_default_str();
  run->add_option("--start-groups", fixed.start_groups, "Groups that must be ready before round 1")
      ->check(WholeNumber(1, kMaxGroups))
      ->capture_default_str();
  run->add_option("--min-groups", fixed.min_groups, "Answers needed to commit")
      ->check(WholeNumber(1, kMaxGroups))
      ->capture_default_str();
  run->add_option("--initial-donor", flags->initial_donor,
                  "Group whose parameters all start from; default: the lowest id")
      ->check(WholeNumber(0, kMaxUint32));
  run->add_option("--audit-rounds", flags->audit_rounds,
                  absl::StrCat("Rounds from one comparison of all groups' states to the next; 0: "
                               "none; default: ",
                               fixed.audit_rounds))
      ->check(WholeNumber(0, kMaxAuditRounds));
}

void AddLimitFlags(CLI::Option_group* limits, LimitFlags* flags) {
  limits
      ->add_option("--deadline", flags->deadline,
                   "How long a bucket waits after its first contribution, or off")
      ->check(Patience())
      ->capture_default_str();
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

// Errors: INVALID_ARGUMENT, naming the choices or the field.
absl::StatusOr<RunSpec> SpecOf(const RunFlags& flags) {
  ISTHMUS_ASSIGN_OR_RETURN(const Scheme scheme, ParseScheme(flags.scheme));
  const RunSpec defaults = DefaultRunSpec(scheme);
  RunSpec spec = flags.fixed;
  spec.scheme = scheme;
  spec.format = defaults.format;
  spec.format.chunk_size = flags.chunk.value_or(defaults.format.chunk_size);
  // A scheme that sends whole chunks does so of any size.
  const bool whole = defaults.format.all.k == defaults.format.chunk_size;
  spec.format.all.k = flags.k.value_or(whole ? spec.format.chunk_size : defaults.format.all.k);
  spec.decay = flags.decay.value_or(defaults.decay);
  spec.alpha = flags.alpha.value_or(defaults.alpha);
  spec.audit_rounds = flags.audit_rounds.value_or(defaults.audit_rounds);
  spec.sign = flags.sign || (defaults.sign && !flags.no_sign);
  spec.merge = defaults.merge;
  spec.optimizer.kind = defaults.optimizer.kind;
  if (flags.values) {
    ISTHMUS_ASSIGN_OR_RETURN(spec.format.all.values, ParseValueFormat(*flags.values));
  }
  if (flags.merge) {
    ISTHMUS_ASSIGN_OR_RETURN(spec.merge, ParseMergeRule(*flags.merge));
  }
  if (flags.optimizer) {
    ISTHMUS_ASSIGN_OR_RETURN(spec.optimizer.kind, ParseOptimizerKind(*flags.optimizer));
  }
  if (flags.initial_donor) spec.initial_donor = GroupId(*flags.initial_donor);
  ISTHMUS_RETURN_IF_ERROR(Validate(spec));
  return spec;
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

absl::Status Apply(const RunFlags& run, const LimitFlags& limits, CoordinatorFlags* flags) {
  ISTHMUS_ASSIGN_OR_RETURN(const RunSpec spec, SpecOf(run));
  ISTHMUS_RETURN_IF_ERROR(CheckTogether(spec, limits, flags->server));
  Engine::Options& engine = flags->server.engine;
  engine.core.run = spec;
  engine.core.deadline = ParsePatience(limits.deadline);
  engine.core.reconnect_grace = ParsePatience(limits.reconnect_grace);
  engine.core.max_groups = limits.max_groups;
  engine.ring_bytes = limits.ring_mib << 20;
  return absl::OkStatus();
}

}  // namespace

std::variant<CoordinatorFlags, int> ParseCoordinatorFlags(int argc, const char* const* argv,
                                                          std::ostream& out, std::ostream& errors) {
  CoordinatorFlags flags;
  flags.server.listen = kDefaultCoordinator;
  flags.log_level = "info";
  RunFlags run;
  LimitFlags limits;
  CLI::App app(kAbout, "isthmus-coordinator");
  app.footer(kFooter);
  AddProgramFlags(&app, &flags);
  CLI::Option_group* const of_run = app.add_option_group("The run");
  AddSchemeFlags(of_run, &run);
  AddOptimizerFlags(of_run, &run);
  AddCourseFlags(of_run, &run);
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
