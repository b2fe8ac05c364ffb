#include "examples/lm/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "examples/lm/stop_signal.h"
#include "examples/lm/stopwatch.h"
#include "examples/lm/vector_math.h"

namespace isthmus::lm {
namespace {

// Worth attaching again: the daemon restarted, or another rank or the network broke the session.
bool IsTransient(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsUnavailable(status);
}

absl::Duration Backoff(absl::Duration first, int failures) {
  return std::min(first * (1 << std::min(failures - 1, 5)), absl::Seconds(30));
}

}  // namespace

float ValidationLoss(const Text& text, Model<float>* model, Batch* batch) {
  double sum = 0;
  for (int first = 0; first < kValidationWindows; first += model->max_batch()) {
    const int count = std::min(model->max_batch(), kValidationWindows - first);
    FillSpaced(text.validation(), first, count, kValidationWindows, model->config().context, batch);
    sum += double{model->Forward(*batch)} * count;
  }
  return static_cast<float>(sum / kValidationWindows);
}

bool ClipGradients(const std::vector<TensorSpec>& tensors, const std::vector<float*>& gradients,
                   double clip) {
  double squares = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const float* g = gradients[i];
    squares += LaneSum<float>(tensors[i].size(), [g](int64_t j) { return g[j] * g[j]; });
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) return false;
  if (clip == 0 || norm <= clip) return true;
  const float scale = static_cast<float>(clip / norm);
  for (size_t i = 0; i < tensors.size(); ++i) {
    float* g = gradients[i];
    const int64_t size = tensors[i].size();
    for (int64_t j = 0; j < size; ++j) g[j] *= scale;
  }
  return true;
}

Trainer::Trainer(const TrainerOptions& options, const Text& text, ParameterService* service)
    : options_(options),
      text_(text),
      service_(service),
      tensors_(ModelTensors(options.model)),
      parameters_(InitialParameters<float>(options.model, options.seed, options.initial_deviation)),
      model_(options.model, options.batch) {
  batch_.Resize(options.batch, options.model.context);
  validation_batch_.Resize(options.batch, options.model.context);
}

absl::Status Trainer::Run() {
  const ScopedStopSignals stop_signals;
  int failures = 0;
  while (true) {
    absl::Status status = RunSession(&failures);
    // Before the first step a failure is more likely the caller's mistake than a passing fault.
    const bool retry = IsTransient(status) && !steps_.empty() && failures < options_.reattach;
    if (!retry) return status;
    ++failures;
    std::fprintf(stderr, "isthmus-lm: %s; attaching again, attempt %d of %d\n",
                 std::string(status.message()).c_str(), failures, options_.reattach);
    if (!SleepUnlessStopped(Backoff(options_.reattach_delay, failures))) {
      return absl::CancelledError("stopped by a signal");
    }
  }
}

absl::Status Trainer::RunSession(int* failures) {
  whole_ = false;
  absl::Status status = Attach();
  if (status.ok()) status = Train(failures);
  // A session that broke within a step may leave the parameters half updated: those are not kept.
  if (whole_) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      std::copy_n(service_->parameters()[i], tensors_[i].size(), parameters_.pointers()[i]);
    }
  }
  model_.Bind(parameters_.pointers(), {});
  service_->Detach();
  return status;
}

absl::Status Trainer::Attach() {
  absl::Status status = service_->Attach(tensors_, parameters_);
  if (!status.ok()) return status;
  standing_ = service_->standing();
  last_round_ = options_.steps != 0 ? options_.steps : standing_.rounds;
  whole_ = true;
  model_.Bind(service_->parameters(), service_->gradients());
  return absl::OkStatus();
}

bool Trainer::Done() const {
  return ended_ || (last_round_ != 0 && standing_.round >= last_round_);
}

absl::Status Trainer::Train(int* failures) {
  while (!Done()) {
    if (StopSignal() != 0) return absl::CancelledError("stopped by a signal");
    StepRecord record;
    absl::StatusOr<StepOutput> output = Step(&record);
    if (!output.ok()) return output.status();
    *failures = 0;
    ended_ = output->ended;
    if (!output->applied) continue;
    standing_ = service_->standing();
    standing_.round = record.round = output->round;
    if (options_.steps == 0) last_round_ = standing_.rounds;
    // Replicas are equal, so one rank speaks for all.
    const bool validates = standing_.group_index == 0 && standing_.rank == 0;
    if (validates && options_.validate_every != 0 && record.round % options_.validate_every == 0) {
      record.validation_loss = ValidationLoss(text_, &model_, &validation_batch_);
    }
    steps_.push_back(record);
    Log(record);
  }
  return absl::OkStatus();
}

absl::StatusOr<StepOutput> Trainer::Step(StepRecord* record) {
  const Stopwatch step_watch;
  const BatchKey key = {options_.seed, standing_.group_index, standing_.rank, standing_.round};
  FillRandom(text_.train(), key, options_.batch, options_.model.context, &batch_);
  const Stopwatch forward_backward_watch;
  record->loss = model_.Forward(batch_);
  model_.Backward(batch_);
  absl::SleepFor(absl::Seconds(options_.pause_seconds));
  record->forward_backward_seconds = forward_backward_watch.Seconds();

  Schedule schedule = options_.schedule;
  schedule.rounds = last_round_;
  StepInput input;
  input.rates.learning_rate.fill(LearningRate(schedule, standing_.round));
  input.rates.weight_decay.fill(0.0f);
  input.rates.weight_decay[kDecayedGroup] = static_cast<float>(options_.weight_decay);
  input.skip = !std::isfinite(record->loss) ||
               !ClipGradients(tensors_, service_->gradients(), options_.clip);
  input.samples = batch_.inputs.size();
  input.loss = record->loss;
  whole_ = false;
  absl::StatusOr<StepOutput> output = service_->Step(input);
  if (!output.ok()) return output;
  whole_ = true;
  record->blocked_seconds = output->blocked_seconds;
  record->local_seconds = output->local_seconds;
  record->peer_wait_seconds = output->peer_wait_seconds;
  record->link_wait_seconds = output->link_wait_seconds;
  record->seconds = step_watch.Seconds();
  return output;
}

void Trainer::Log(const StepRecord& record) const {
  if (standing_.rank != 0 || options_.log_every == 0) return;
  if (record.round % options_.log_every != 0 && !record.validation_loss.has_value()) return;
  std::fprintf(stderr, "step %llu  loss %.4f  step %.1f ms  blocked %.1f ms",
               static_cast<unsigned long long>(record.round), record.loss, record.seconds * 1e3,
               record.blocked_seconds * 1e3);
  if (record.validation_loss.has_value()) {
    std::fprintf(stderr, "  validation %.4f", *record.validation_loss);
  }
  std::fputc('\n', stderr);
}

}  // namespace isthmus::lm
