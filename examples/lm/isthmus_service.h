// A rank of a run over several sites, through libisthmus and the site's worker daemon.
#ifndef ISTHMUS_EXAMPLES_LM_ISTHMUS_SERVICE_H_
#define ISTHMUS_EXAMPLES_LM_ISTHMUS_SERVICE_H_

#include <string>
#include <vector>

#include "client/isthmus.h"
#include "examples/lm/parameter_service.h"

namespace isthmus::lm {

struct IsthmusOptions {
  std::string socket_path;            // empty: $ISTHMUS_SOCKET
  int local_rank = -1;                // -1: $LOCAL_RANK, or 0
  double attach_timeout_seconds = 0;  // 0: no limit
};

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
  const IsthmusOptions options_;
  isthmus_session* session_ = nullptr;
  uint64_t round_ = 0;  // last one applied
  std::vector<float*> parameters_;
  std::vector<float*> gradients_;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_ISTHMUS_SERVICE_H_
