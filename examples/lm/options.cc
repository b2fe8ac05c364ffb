#include "examples/lm/options.h"

#include <limits>
#include <ostream>

#include "CLI/CLI.hpp"
#include "examples/lm/flag_checks.h"

namespace isthmus::lm {
namespace {

constexpr char kDescription[] =
    "Trains a byte-level language model as one rank of an Isthmus run, or alone.";
constexpr char kFooter[] =
    "Exit codes: 0 done, 2 usage, 3 daemon unreachable, 4 aborted, 5 refused by the daemon,\n"
    "130 or 143 stopped by SIGINT or SIGTERM: at once while attaching, else after the step under "
    "way\n"
    "or two seconds of waiting for it; a second signal ends it at once. 1 anything else.\n"
    "{rank} in the paths of --report and --curve becomes the rank, and every rank writes its own;\n"
    "without it rank 0 alone writes.";

// So many that training never gets there, and so few that sums of them do not overflow.
constexpr uint64_t kMaxSteps = 1'000'000'000'000;
constexpr int kMaxInt = std::numeric_limits<int>::max();

void AddModelFlags(CLI::App* app, ModelConfig* model) {
  const auto group = "Model (the same at every rank and site)";
  app->add_option("--width", model->width, "Width of the residual stream")
      ->check(WholeNumber(1, kMaxWidth))
      ->capture_default_str()
      ->group(group);
  app->add_option("--layers", model->layers, "Blocks")
      ->check(WholeNumber(1, kMaxLayers))
      ->capture_default_str()
      ->group(group);
  app->add_option("--heads", model->heads, "Attention heads")
      ->check(WholeNumber(1, kMaxHeads))
      ->capture_default_str()
      ->group(group);
  app->add_option("--context", model->context, "Longest sequence, in bytes")
      ->check(WholeNumber(1, kMaxContext))
      ->capture_default_str()
      ->group(group);
}

void AddTrainingFlags(CLI::App* app, TrainerOptions* trainer) {
  const auto group = "Training";
  app->add_option("--steps", trainer->steps,
                  "Stop at this round of the run (0: at its last one; needed with --local)")
      ->check(WholeNumber(0, kMaxSteps))
      ->capture_default_str()
      ->group(group);
  app->add_option("--pause", trainer->pause_seconds,
                  "Seconds to wait in every step, as if this machine were slower")
      ->check(Number(0, 3600))
      ->capture_default_str()
      ->group(group);
  app->add_option("--batch", trainer->batch, "Sequences per step of this rank")
      ->check(WholeNumber(1, 4096))
      ->capture_default_str()
      ->group(group);
  app->add_option("--seed", trainer->seed, "Of initial parameters and batches; same at every site")
      ->check(WholeNumber(0, std::numeric_limits<uint64_t>::max()))
      ->capture_default_str()
      ->group(group);
  app->add_option("--init-deviation", trainer->initial_deviation, "Of the initial weights")
      ->check(PositiveNumber(1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--lr", trainer->schedule.peak, "Learning rate after warm-up")
      ->check(PositiveNumber(1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--warmup", trainer->schedule.warmup, "Rounds of linear warm-up")
      ->check(WholeNumber(0, kMaxSteps))
      ->capture_default_str()
      ->group(group);
  app->add_option("--final-lr", trainer->schedule.final_fraction,
                  "Fraction of --lr that the cosine ends at")
      ->check(Number(0, 1))
      ->capture_default_str()
      ->group(group);
  app->add_option("--weight-decay", trainer->weight_decay, "Decoupled, on matrices only")
      ->check(Number(0, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--clip", trainer->clip, "Largest norm of this rank's gradient (0: any)")
      ->check(Number(0, 1e9))
      ->capture_default_str()
      ->group(group);
}

void AddSessionFlags(CLI::App* app, Options* options) {
  const auto group = "Session";
  CLI::Option* const local =
      app->add_flag("--local", options->local, "Train alone; no daemon")->group(group);
  app->add_option("--own-optimizer", options->own_optimizer,
                  "adamw or muon: the job steps by itself, in a run of local steps (the "
                  "coordinator's --scheme local), or with --local alone (default there adamw)")
      ->check(CLI::IsMember({"adamw", "muon"}))
      ->group(group);
  app->add_option("--muon-lr", options->muon_lr,
                  "Of --own-optimizer muon: of matrices, after warm-up; --lr is for the rest")
      ->check(PositiveNumber(1000))
      ->default_str("twice --lr")
      ->group(group);
  app->add_option("--socket", options->isthmus.socket_path,
                  "The daemon's (default $ISTHMUS_SOCKET)")
      ->excludes(local)
      ->group(group);
  app->add_option("--local-rank", options->isthmus.local_rank, "Default $LOCAL_RANK, or 0")
      ->check(WholeNumber(0, kMaxInt))
      ->group(group);
  app->add_option(
         "--attach-timeout", options->isthmus.attach_timeout_seconds,
         "Seconds until training must be able to start; the daemon may come later than this "
         "program (0: it has to be there, then wait without limit)")
      ->check(Number(0, 1e9))
      ->capture_default_str()
      ->group(group);
  app->add_option("--reattach", options->trainer.reattach,
                  "Attempts in a row to attach again after losing the session")
      ->check(WholeNumber(0, kMaxInt))
      ->capture_default_str()
      ->group(group);
}

void AddOutputFlags(CLI::App* app, Options* options, bool* quiet) {
  const auto group = "Output";
  app->add_option("--log-every", options->trainer.log_every, "Steps between progress lines")
      ->check(WholeNumber(0, kMaxSteps))
      ->capture_default_str()
      ->group(group);
  app->add_flag("--quiet", *quiet, "No progress, no summary")->group(group);
  app->add_option("--validate-every", options->trainer.validate_every,
                  "Steps between validations by rank 0 of the first site, for which all others "
                  "wait (0: none)")
      ->check(WholeNumber(0, kMaxSteps))
      ->capture_default_str()
      ->group(group);
  CLI::Option* const sample =
      app->add_option("--sample", options->sample.bytes, "Bytes of text to write at the end")
          ->check(WholeNumber(0, 1 << 20))
          ->capture_default_str()
          ->group(group);
  app->add_option("--prompt", options->sample.prompt, "What the sample continues")
      ->needs(sample)
      ->group(group);
  app->add_option("--temperature", options->sample.temperature, "Of the sample")
      ->check(Number(0, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--save", options->save, "File for the trained model")->group(group);
  app->add_option("--report", options->report, "File for figures as JSON")->group(group);
  app->add_option("--curve", options->curve, "File for every step as CSV")->group(group);
}

// What no single flag's check can see. Empty where all is well.
std::string Inconsistency(const Options& options) {
  if (!options.load.empty()) {
    return options.sample.bytes > 0 ? "" : "--load needs --sample";
  }
  if (options.text.empty()) return "--text is required";
  if (options.local && options.trainer.steps == 0) return "--local needs --steps";
  return std::string(Validate(options.trainer.model).message());
}

}  // namespace

ParsedOptions ParseOptions(int argc, const char* const* argv, std::ostream& out,
                           std::ostream& errors) {
  Options options;
  bool quiet = false;
  CLI::App app(kDescription, "isthmus-lm");
  app.footer(kFooter);
  app.add_option("--text", options.text,
                 "A file, or a directory for its text files; may be given again");
  app.add_option("--load", options.load, "Sample from this saved model; no training, no daemon");
  AddSessionFlags(&app, &options);
  AddModelFlags(&app, &options.trainer.model);
  AddTrainingFlags(&app, &options.trainer);
  AddOutputFlags(&app, &options, &quiet);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {std::nullopt, app.exit(error, out, errors) == 0 ? kExitDone : kExitUsage};
  }
  const std::string inconsistency = Inconsistency(options);
  if (!inconsistency.empty()) {
    errors << "isthmus-lm: " << inconsistency << "\nRun with --help for more information."
           << std::endl;
    return {std::nullopt, kExitUsage};
  }
  if (quiet) options.trainer.log_every = 0;
  options.sample.seed = options.trainer.seed;
  return {options, kExitDone};
}

}  // namespace isthmus::lm
