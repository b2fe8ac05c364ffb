// What the ranks of one job must have in common, on one machine (session_core.h) or on several
// (worker/site). Pure functions.
#ifndef ISTHMUS_WORKER_JOBS_RANK_AGREEMENT_H_
#define ISTHMUS_WORKER_JOBS_RANK_AGREEMENT_H_

#include <absl/status/status.h>

#include <string>

#include "common/tensor/layout.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// Names of tensors, shapes, constants and the type of the elements. `whose` is who has the expected
// one, in words: "rank 0". Errors: FAILED_PRECONDITION with the first difference.
absl::Status CheckSameModel(const Layout& expected, const std::string& whose, const Layout& actual);

// What a step wants, the job's own number of one that is taken in, its learning rates and weight
// decays, equally many. Errors: INVALID_ARGUMENT likewise.
absl::Status CheckSameStep(const RankStep& expected, const std::string& whose,
                           const RankStep& actual);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_RANK_AGREEMENT_H_
