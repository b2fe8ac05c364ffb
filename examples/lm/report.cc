#include "examples/lm/report.h"

#include <cmath>

#include "absl/strings/escaping.h"
#include "examples/lm/tensors.h"
#include "nlohmann/json.hpp"

namespace isthmus::lm {

std::string ToJson(const Report& report) {
  const Standing& standing = report.standing;
  const StepFigures& figures = report.figures;
  nlohmann::ordered_json json = {
      {"parameters", report.parameters},
      {"seed", report.seed},
      {"steps", report.steps},
      {"round", standing.round},
      {"rounds", standing.rounds},
      {"group_id", standing.group_id},
      {"group_index", standing.group_index},
      {"group_count", standing.group_count},
      {"rank", standing.rank},
      {"world_size", standing.world_size},
      {"tokens_per_step", report.tokens_per_step},
      {"tokens_total", report.tokens_per_step * report.steps},
      {"train_loss", figures.train_loss},
      {"validation_loss", nullptr},
      {"validation_curve", nlohmann::ordered_json::array()},
      {"unigram_entropy", report.unigram_entropy},
      {"uniform_entropy", std::log(double{kSymbols})},
      {"step_seconds", figures.step},
      {"step_seconds_mean", figures.step_mean},
      {"compute_seconds", figures.compute},
      {"forward_backward_seconds", figures.forward_backward},
      {"blocked_seconds", figures.blocked},
      {"local_seconds", figures.local},
      {"link_wait_seconds", figures.link_wait},
      {"peer_wait_seconds", figures.peer_wait},
      {"communication_ratio", figures.communication_ratio},
      {"sample", absl::CHexEscape(report.sample)},
  };
  if (report.validation_loss.has_value()) json["validation_loss"] = *report.validation_loss;
  for (const CurvePoint& point : report.validation_curve) {
    json["validation_curve"].push_back({{"step", point.step}, {"loss", point.loss}});
  }
  return json.dump(2) + "\n";
}

}  // namespace isthmus::lm
