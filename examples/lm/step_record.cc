#include "examples/lm/step_record.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"

namespace isthmus::lm {
namespace {

constexpr size_t kWarmUpSteps = 3;
constexpr size_t kTrainLossSteps = 20;

template <typename Get>
double Sum(absl::Span<const StepRecord> steps, Get get) {
  double sum = 0;
  for (const StepRecord& step : steps) sum += get(step);
  return sum;
}

template <typename Get>
double Median(absl::Span<const StepRecord> steps, Get get) {
  std::vector<double> values;
  for (const StepRecord& step : steps) values.push_back(get(step));
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double TrainLoss(absl::Span<const StepRecord> steps) {
  double sum = 0;
  int count = 0;
  for (const StepRecord& step :
       steps.subspan(steps.size() - std::min(steps.size(), kTrainLossSteps))) {
    if (!std::isfinite(step.loss)) continue;
    sum += step.loss;
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

}  // namespace

StepFigures Summarise(const std::vector<StepRecord>& steps) {
  StepFigures figures;
  if (steps.empty()) return figures;
  figures.train_loss = TrainLoss(steps);
  absl::Span<const StepRecord> steady = steps;
  if (steady.size() > 2 * kWarmUpSteps) steady.remove_prefix(kWarmUpSteps);
  const auto seconds = [](const StepRecord& s) { return s.seconds; };
  const auto link_wait = [](const StepRecord& s) { return s.link_wait_seconds; };
  figures.step = Median(steady, seconds);
  figures.step_mean = Sum(steady, seconds) / static_cast<double>(steady.size());
  figures.compute = Median(steady, [](const StepRecord& s) { return s.compute_seconds(); });
  figures.forward_backward =
      Median(steady, [](const StepRecord& s) { return s.forward_backward_seconds; });
  figures.blocked = Median(steady, [](const StepRecord& s) { return s.blocked_seconds; });
  figures.local = Median(steady, [](const StepRecord& s) { return s.local_seconds; });
  figures.peer_wait = Median(steady, [](const StepRecord& s) { return s.peer_wait_seconds; });
  figures.link_wait = Median(steady, link_wait);
  figures.communication_ratio = Sum(steady, link_wait) / Sum(steady, seconds);
  return figures;
}

std::vector<CurvePoint> ValidationCurve(const std::vector<StepRecord>& steps) {
  std::vector<CurvePoint> curve;
  for (const StepRecord& step : steps) {
    if (step.validation_loss.has_value()) curve.push_back({step.round, *step.validation_loss});
  }
  return curve;
}

std::string CurveCsv(const std::vector<StepRecord>& steps) {
  std::string csv = "step,loss,seconds,blocked,validation_loss\n";
  for (const StepRecord& step : steps) {
    absl::StrAppendFormat(&csv, "%d,%.6f,%.6f,%.6f,", step.round, step.loss, step.seconds,
                          step.blocked_seconds);
    if (step.validation_loss.has_value()) {
      absl::StrAppendFormat(&csv, "%.6f", *step.validation_loss);
    }
    csv.push_back('\n');
  }
  return csv;
}

}  // namespace isthmus::lm
