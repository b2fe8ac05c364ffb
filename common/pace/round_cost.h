// What a round costs: bytes, and time over links of known rate and delay.
#ifndef ISTHMUS_COMMON_PACE_ROUND_COST_H_
#define ISTHMUS_COMMON_PACE_ROUND_COST_H_

#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/base/ids.h"
#include "common/run/run_spec.h"

namespace isthmus {

// A site's way to the coordinator.
struct Path {
  double up = std::numeric_limits<double>::infinity();  // bytes per second
  double down = std::numeric_limits<double>::infinity();
  absl::Duration round_trip;
};

// What crosses in a round, by site: what each sends, and what it is sent of the others. Framing
// included, and nothing that is said beside frames.
struct RoundBytes {
  std::vector<uint64_t> up;
  std::vector<uint64_t> down;
  uint32_t buckets = 1;
};

// `run` as Validate() accepts it, `parameters` of the model (at least 1), `groups` those that
// contribute, each in its own format. Every chunk is taken to be present; where updates list values
// (schemes that apply no signs), groups are taken to send different ones.
RoundBytes BytesOfRound(const RunSpec& run, uint64_t parameters,
                        const std::vector<GroupId>& groups);
// What `group` sends of that.
uint64_t BytesUp(const RunSpec& run, uint64_t parameters, GroupId group);

// From handing over a round's gradients or progress until its update is there, at the site of
// `paths[site]`, where `paths` are those of all sites: buckets follow each other up and down, and
// the coordinator answers one when it has it from everybody. Compressing is not in it.
absl::Duration ExchangeTime(const RoundBytes& bytes, const std::vector<Path>& paths, size_t site);

// Of one step of the job.
struct StepCost {
  absl::Duration step;
  absl::Duration blocked;  // of that, waiting for the link
  double ratio = 0;        // blocked / step: the communication ratio (P26)
};

// Where an exchange comes every `period` steps and the job goes on for `overlap` of them meanwhile.
StepCost CostOfStep(absl::Duration compute, absl::Duration exchange, uint32_t period,
                    uint32_t overlap);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PACE_ROUND_COST_H_
