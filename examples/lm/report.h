// What a finished job writes for scripts: one JSON object.
#ifndef ISTHMUS_EXAMPLES_LM_REPORT_H_
#define ISTHMUS_EXAMPLES_LM_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "examples/lm/parameter_service.h"
#include "examples/lm/step_record.h"

namespace isthmus::lm {

struct Report {
  Standing standing;
  uint64_t seed = 0;
  int64_t parameters = 0;
  uint64_t steps = 0;            // of this process
  uint64_t tokens_per_step = 0;  // of this rank
  StepFigures figures;
  std::optional<float> validation_loss;  // none where the job was stopped
  std::vector<CurvePoint> validation_curve;
  double unigram_entropy = 0;
  std::string sample;
};

// Seconds and nats per byte. `sample` is escaped as in C, so that it is valid JSON whatever its
// bytes.
std::string ToJson(const Report& report);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_REPORT_H_
