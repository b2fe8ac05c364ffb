// Trains a rival and writes what a rehearsal's JSON would say of it, as far as it goes.
#include <cstdio>
#include <map>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "nlohmann/json.hpp"
#include "tests/rivals/rivals.h"

namespace isthmus::rivals {
namespace {

constexpr char kDescription[] =
    "Trains isthmus-lm's model at several sites as DiLoCo, MuLoCo, SparseLoCo, PowerSGD or plain "
    "averaging would, all in this process; prints JSON.";

struct Flags {
  RivalOptions options;
  std::string text;
  std::string optimizer = "adamw";
  // Unset: the rival's own.
  std::optional<double> adam_beta2;
  std::optional<int> inner_steps;
  std::optional<float> outer_lr, outer_momentum, error_decay;
};

void AddTraining(CLI::App* app, RivalOptions* options) {
  lm::TrainerOptions& trainer = options->trainer;
  trainer.steps = 300;
  app->add_option("--sites", options->sites)->check(CLI::Range(1, 64));
  app->add_option("--ranks", options->ranks, "Of each site")->check(CLI::Range(1, 64));
  app->add_option("--steps", trainer.steps)->check(CLI::PositiveNumber);
  app->add_option("--batch", trainer.batch, "Sequences per step and rank")
      ->check(CLI::Range(1, 4096));
  app->add_option("--seed", trainer.seed, "Of initial parameters and batches");
  app->add_option("--lr", trainer.schedule.peak,
                  "The optimizer's, after warm-up; Muon takes twice that for matrices")
      ->check(CLI::PositiveNumber);
  app->add_option("--validate-every", trainer.validate_every, "Steps; 0: only at the end");
}

void AddFlags(CLI::App* app, Flags* flags) {
  static const std::map<std::string, Rival> kNames = {{"diloco", Rival::kDiloco},
                                                      {"sparseloco", Rival::kSparseLoco},
                                                      {"powersgd", Rival::kPowerSgd},
                                                      {"full", Rival::kFull}};
  app->option_defaults()->always_capture_default();
  app->add_option("--rival", flags->options.rival, "diloco, sparseloco, powersgd or full")
      ->transform(CLI::CheckedTransformer(kNames))
      ->required();
  app->add_option("--text", flags->text, "A file, or a directory for its text files")->required();
  AddTraining(app, &flags->options);
  app->add_option("--optimizer", flags->optimizer,
                  "Of each site: adamw, or muon as isthmus-lm has it")
      ->check(CLI::IsMember({"adamw", "muon"}));
  app->add_option("--adam-beta2", flags->adam_beta2,
                  "Of --optimizer adamw (default: 0.999; SparseLoCo's 0.95)")
      ->check(CLI::Range(0.0, 1.0));
  app->add_option("--inner-steps", flags->inner_steps,
                  "DiLoCo: between exchanges (default: 50; SparseLoCo's 30)")
      ->check(CLI::PositiveNumber);
  app->add_option("--outer-lr", flags->outer_lr, "DiLoCo (default: 0.7; SparseLoCo's 1)");
  app->add_option("--outer-momentum", flags->outer_momentum,
                  "DiLoCo: Nesterov's (default: 0.9; SparseLoCo's 0)");
  app->add_option("--error-decay", flags->error_decay,
                  "Of what was not sent, with few bits (default: 0.9; SparseLoCo's 0.95)");
  app->add_option("--bits", flags->options.bits, "DiLoCo: of a value that is sent, 2, 4 or 32")
      ->check(CLI::IsMember({2, 4, 32}));
  app->add_option("--rank", flags->options.power_sgd_rank, "PowerSGD: of the factors")
      ->check(CLI::PositiveNumber);
}

lm::OptimizerFactory OptimizerOf(const Flags& flags) {
  if (flags.optimizer == "muon") return lm::MuonFactory();
  lm::AdamWOptions adamw = DefaultAdamW(flags.options.rival);
  adamw.beta2 = flags.adam_beta2.value_or(adamw.beta2);
  return lm::AdamWFactory(adamw);
}

// What was given, and else what the rival has.
RivalOptions OptionsOf(const Flags& flags) {
  const RivalOptions defaults = DefaultRivalOptions(flags.options.rival);
  RivalOptions options = flags.options;
  options.optimizer = OptimizerOf(flags);
  options.diloco = {.inner_steps = flags.inner_steps.value_or(defaults.diloco.inner_steps),
                    .outer_lr = flags.outer_lr.value_or(defaults.diloco.outer_lr),
                    .outer_momentum = flags.outer_momentum.value_or(defaults.diloco.outer_momentum),
                    .error_decay = flags.error_decay.value_or(defaults.diloco.error_decay)};
  return options;
}

std::string ToJson(const RivalResult& result) {
  nlohmann::ordered_json json = {
      {"parameters", result.parameters},
      {"validation_loss", nullptr},
      {"validation_curve", nlohmann::ordered_json::array()},
      {"bytes_up_per_step", result.bytes_per_step},
      {"bytes_down_per_step", result.bytes_per_step},
      {"exchanges_per_step", result.exchanges_per_step},
  };
  if (result.validation_loss) json["validation_loss"] = *result.validation_loss;
  for (const lm::CurvePoint& point : result.validation_curve) {
    json["validation_curve"].push_back({{"step", point.step}, {"loss", point.loss}});
  }
  return json.dump(2);
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(kDescription, "isthmus-rivals");
  AddFlags(&app, &flags);
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<lm::Text> text = lm::Text::Load({flags.text});
  if (!text.ok()) {
    std::fprintf(stderr, "isthmus-rivals: %s\n", std::string(text.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", ToJson(Train(OptionsOf(flags), *text)).c_str());
  return 0;
}

}  // namespace
}  // namespace isthmus::rivals

int main(int argc, char** argv) { return isthmus::rivals::Main(argc, argv); }
