// The training loop of one rank: read a batch, forward, backward, step; attach again when the
// session is lost.
#ifndef ISTHMUS_EXAMPLES_LM_TRAINER_H_
#define ISTHMUS_EXAMPLES_LM_TRAINER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "examples/lm/model.h"
#include "examples/lm/parameter_service.h"
#include "examples/lm/parameter_set.h"
#include "examples/lm/schedule.h"
#include "examples/lm/step_record.h"
#include "examples/lm/text.h"

namespace isthmus::lm {

struct TrainerOptions {
  ModelConfig model;
  int batch = 8;      // sequences per step
  uint64_t seed = 1;  // of the initial parameters and the windows; the same at every site
  double initial_deviation = kInitialDeviation;
  uint64_t steps = 0;  // stop at this round; 0: at the run's last one
  Schedule schedule;   // its rounds are set by the trainer
  double weight_decay = 0.1;
  double clip = 1.0;                                 // largest norm of this rank's gradient; 0: any
  int reattach = 3;                                  // attempts in a row, once training has begun
  absl::Duration reattach_delay = absl::Seconds(1);  // before the first; doubles up to 30 s
  double pause_seconds = 0;     // waited for in every step, as if the machine were slower
  uint64_t log_every = 20;      // steps between lines on stderr, of rank 0; 0: none
  uint64_t validate_every = 0;  // steps between validations, of the first group's rank 0; 0: none
};

// The windows that every site validates with.
inline constexpr int kValidationWindows = 256;

// Mean loss over them with whatever `model` is bound to.
float ValidationLoss(const Text& text, Model<float>* model, Batch* batch);

// Scales `gradients`, one pointer per tensor, down to norm `clip`; 0: any norm. False where they
// are not finite, and then leaves them.
bool ClipGradients(const std::vector<TensorSpec>& tensors, const std::vector<float*>& gradients,
                   double clip);

// Single-threaded. Takes all its memory before the first step, but for the records.
class Trainer {
 public:
  // `text` and `service` outlive it; both parts of the text are longer than the model's context.
  Trainer(const TrainerOptions& options, const Text& text, ParameterService* service);

  // Trains until the end, a stop signal or an error, and detaches. On SIGTERM or SIGINT it returns
  // CANCELLED: at once while it attaches, else after the step under way, if that does not take
  // longer than the service allows. Other errors: those of ParameterService.
  absl::Status Run();

  // After Run(): where it stopped.
  const Standing& standing() const { return standing_; }
  const std::vector<StepRecord>& steps() const { return steps_; }
  // The parameters at the end or stop (after an error, or a stop within a step, the initial ones),
  // and the model, bound to them.
  const ParameterSet<float>& parameters() const { return parameters_; }
  Model<float>* model() { return &model_; }

 private:
  absl::Status Attach();
  // Attach, train, detach. Each step done sets *failures to zero.
  absl::Status RunSession(int* failures);
  absl::Status Train(int* failures);
  bool Done() const;
  absl::StatusOr<StepOutput> Step(StepRecord* record);
  void Log(const StepRecord& record) const;

  const TrainerOptions options_;
  const Text& text_;
  ParameterService* const service_;
  const std::vector<TensorSpec> tensors_;
  ParameterSet<float> parameters_;  // initial, then final
  Model<float> model_;
  Batch batch_;
  Batch validation_batch_;
  Standing standing_;
  uint64_t last_round_ = 0;  // to be reached; 0: none
  bool ended_ = false;
  bool whole_ = false;  // the service's parameters are those of one round
  std::vector<StepRecord> steps_;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_TRAINER_H_
