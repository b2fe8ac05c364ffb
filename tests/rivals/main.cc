// Trains a rival and writes what a rehearsal's JSON would say of it, as far as it goes.
#include <cstdio>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "nlohmann/json.hpp"
#include "tests/rivals/rivals.h"

namespace isthmus::rivals {
namespace {

constexpr char kDescription[] =
    "Trains isthmus-lm's model at several sites as DiLoCo, PowerSGD or plain averaging would, all "
    "in this process; prints JSON.";

void AddFlags(CLI::App* app, RivalOptions* options, std::string* text) {
  static const std::map<std::string, Rival> kNames = {
      {"diloco", Rival::kDiloco}, {"powersgd", Rival::kPowerSgd}, {"full", Rival::kFull}};
  lm::TrainerOptions& trainer = options->trainer;
  trainer.steps = 300;
  app->option_defaults()->always_capture_default();
  app->add_option("--rival", options->rival, "diloco, powersgd or full")
      ->transform(CLI::CheckedTransformer(kNames))
      ->required();
  app->add_option("--text", *text, "A file, or a directory for its text files")->required();
  app->add_option("--sites", options->sites)->check(CLI::Range(1, 64));
  app->add_option("--ranks", options->ranks, "Of each site")->check(CLI::Range(1, 64));
  app->add_option("--steps", trainer.steps)->check(CLI::PositiveNumber);
  app->add_option("--batch", trainer.batch, "Sequences per step and rank")
      ->check(CLI::Range(1, 4096));
  app->add_option("--seed", trainer.seed, "Of initial parameters and batches");
  app->add_option("--lr", trainer.schedule.peak, "AdamW's, after warm-up")
      ->check(CLI::PositiveNumber);
  app->add_option("--validate-every", trainer.validate_every, "Steps; 0: only at the end");
  app->add_option("--inner-steps", options->diloco.inner_steps, "DiLoCo: between exchanges")
      ->check(CLI::PositiveNumber);
  app->add_option("--outer-lr", options->diloco.outer_lr, "DiLoCo");
  app->add_option("--outer-momentum", options->diloco.outer_momentum, "DiLoCo: Nesterov's");
  app->add_option("--rank", options->power_sgd_rank, "PowerSGD: of the factors")
      ->check(CLI::PositiveNumber);
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
  RivalOptions options;
  std::string path;
  CLI::App app(kDescription, "isthmus-rivals");
  AddFlags(&app, &options, &path);
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<lm::Text> text = lm::Text::Load({path});
  if (!text.ok()) {
    std::fprintf(stderr, "isthmus-rivals: %s\n", std::string(text.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", ToJson(Train(options, *text)).c_str());
  return 0;
}

}  // namespace
}  // namespace isthmus::rivals

int main(int argc, char** argv) { return isthmus::rivals::Main(argc, argv); }
