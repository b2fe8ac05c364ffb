// What else joins sites over a thin link, trained on the model, text, batches and seeds of a
// rehearsal. All sites are in this process and nothing is sent: bytes are those that all-reduces
// between sites would carry, of float32 or of what compressor.h makes.
#ifndef ISTHMUS_TESTS_RIVALS_RIVALS_H_
#define ISTHMUS_TESTS_RIVALS_RIVALS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "examples/lm/trainer.h"
#include "tests/rivals/diloco.h"

namespace isthmus::rivals {

// kDiloco with Muon for its inner optimizer is MuLoCo. kFull averages every gradient, with AdamW as
// scheme full does: what simulating changes shows there.
enum class Rival { kDiloco, kSparseLoco, kPowerSgd, kFull };

// As scheme full has it.
inline constexpr lm::AdamWOptions kAdamW = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};

struct RivalOptions {
  Rival rival = Rival::kDiloco;
  int sites = 2;
  int ranks = 2;  // of each site
  lm::TrainerOptions trainer;
  lm::OptimizerFactory optimizer = lm::AdamWFactory(kAdamW);  // of every site
  DilocoOptions diloco;                                       // of kSparseLoco too
  int bits = 32;                                              // of a value that kDiloco sends
  int power_sgd_rank = 4;
};

// As the papers have it where they say something; of kSparseLoco its rounds and AdamW.
lm::AdamWOptions DefaultAdamW(Rival rival);
RivalOptions DefaultRivalOptions(Rival rival);

struct RivalResult {
  int64_t parameters = 0;
  std::optional<float> validation_loss;  // of site 1; none where training diverged
  std::vector<lm::CurvePoint> validation_curve;
  // Of one site. Between two, an all-reduce is one exchange: as many bytes come as go.
  double bytes_per_step = 0;
  double exchanges_per_step = 0;  // that follow each other
};

// Trains for options.trainer.steps steps, one thread for each site. The last round of local steps
// ends with the last step, however short.
RivalResult Train(const RivalOptions& options, const lm::Text& text);

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_RIVALS_H_
