// A rank of a run over several sites, through libisthmus and the site's worker daemon.
#ifndef ISTHMUS_EXAMPLES_LM_ISTHMUS_SERVICE_H_
#define ISTHMUS_EXAMPLES_LM_ISTHMUS_SERVICE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/isthmus.h"
#include "examples/lm/parameter_service.h"
#include "examples/lm/stopwatch.h"

namespace isthmus::lm {

struct IsthmusOptions {
  std::string socket_path;            // empty: $ISTHMUS_SOCKET
  int local_rank = -1;                // -1: $LOCAL_RANK, or 0
  double attach_timeout_seconds = 0;  // 0: the daemon has to be there; then no limit
  // How long a step under way may still take once a stop signal has come.
  absl::Duration stop_grace = absl::Seconds(2);
  // Set: the run is one of local steps (scheme local), and this is the job's optimizer.
  OptimizerFactory own_optimizer;
  // What the daemon waits for goes to stderr after so long.
  absl::Duration say_waiting_after = absl::Seconds(2);
};

// While a ScopedStopSignals lives, a signal ends Attach() with CANCELLED at once, and Step() after
// options.stop_grace; the parameters may be half updated then.
class IsthmusService : public ParameterService {
 public:
  explicit IsthmusService(IsthmusOptions options);
  ~IsthmusService() override;
  IsthmusService(const IsthmusService&) = delete;
  IsthmusService& operator=(const IsthmusService&) = delete;

  absl::Status Attach(const std::vector<TensorSpec>& tensors,
                      const ParameterSet<float>& initial) override;
  void Detach() override;

  const std::vector<float*>& parameters() const override { return parameters_; }
  const std::vector<float*>& gradients() const override { return gradients_; }
  Standing standing() const override;
  absl::StatusOr<StepOutput> Step(const StepInput& input) override;

 private:
  // isthmus_attach_options.keep_waiting.
  static int KeepWaiting(void* self, const char* what);
  bool KeepWaiting(const std::string& what);
  isthmus_info Info() const;

  const IsthmusOptions options_;
  isthmus_session* session_ = nullptr;
  Stopwatch waiting_;                        // for attach or step
  std::optional<absl::Duration> stop_seen_;  // a stop signal, that long into the wait
  std::string said_;                         // of what it waits for
  uint64_t round_ = 0;                       // last one applied
  uint64_t local_steps_ = 0;                 // that are not in it; with an optimizer of its own
  uint64_t run_steps_ = 0;                   // of the run, that round included
  bool paced_ = false;                       // the steps between exchanges have changed
  std::unique_ptr<Optimizer> optimizer_;  // stays from one session to the next, as its moments do
  std::optional<ParameterSet<float>> own_gradients_;
  std::vector<float*> parameters_;
  std::vector<float*> gradients_;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_ISTHMUS_SERVICE_H_
