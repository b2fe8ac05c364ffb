// What each step took, and the figures drawn from it.
#ifndef ISTHMUS_EXAMPLES_LM_STEP_RECORD_H_
#define ISTHMUS_EXAMPLES_LM_STEP_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace isthmus::lm {

struct StepRecord {
  uint64_t round = 0;  // the run's, after the step
  float loss = 0;      // of this rank's batch, before the update
  double seconds = 0;  // the whole step
  double forward_backward_seconds = 0;
  double blocked_seconds = 0;  // the rest as isthmus_step_result has them
  double local_seconds = 0;
  double peer_wait_seconds = 0;
  double link_wait_seconds = 0;
  std::optional<float> validation_loss;  // with the parameters after the step

  // What the rank would take without anybody to wait for.
  double compute_seconds() const { return seconds - blocked_seconds + local_seconds; }
};

// Times are medians in seconds. The first three steps, which warm caches and connections, are left
// out of them where there are more than six.
struct StepFigures {
  double train_loss = 0;  // mean of the last 20 finite ones
  double step = 0;
  double step_mean = 0;
  double compute = 0;
  double forward_backward = 0;
  double blocked = 0;
  double local = 0;
  double peer_wait = 0;
  double link_wait = 0;
  double communication_ratio = 0;  // of all that time, the share spent waiting for the link
};

// All zero without steps.
StepFigures Summarise(const std::vector<StepRecord>& steps);

struct CurvePoint {
  uint64_t step = 0;  // the run's
  float loss = 0;
};

// Where validation loss was measured on the way.
std::vector<CurvePoint> ValidationCurve(const std::vector<StepRecord>& steps);

// One line per step: step,loss,seconds,blocked,validation_loss, the last empty where not measured.
std::string CurveCsv(const std::vector<StepRecord>& steps);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_STEP_RECORD_H_
