// How a worker's work goes, as it says with its heartbeats: for status and metrics.
#ifndef ISTHMUS_COMMON_RUN_WORKER_REPORT_H_
#define ISTHMUS_COMMON_RUN_WORKER_REPORT_H_

#include <cstdint>
#include <string>

#include "common/base/ids.h"
#include "common/run/link_estimate.h"

namespace isthmus {

// What keeps a worker from its next update, in the order of a step.
enum class WorkPhase : uint8_t {
  kUnknown,   // there is no step, or nobody says
  kCompute,   // the job computes
  kCompress,  // what it handed over is being compressed
  kLink,      // it is on the wire, or an update is waited for
  kApply      // an update is being applied
};
const char* Name(WorkPhase phase);

struct WorkerReport {
  Round applied_round;
  Round hash_round;         // 0: no hash yet
  uint64_t state_hash = 0;  // of the masters at hash_round (P22)
  // Medians over the last steps, seconds.
  double step_seconds = 0;
  double compute_seconds = 0;
  double link_wait_seconds = 0;
  double peer_wait_seconds = 0;
  double communication_ratio = 0;  // link wait / step time (P26)
  // Waited for the link in an exchange: of the last few, and the first of them; 0: not known yet.
  double exchange_wait_seconds = 0;
  Round exchange_wait_since;
  // From the first frame of a contribution to the last of its round's updates; 0: not known yet.
  double exchange_seconds = 0;
  uint64_t steps = 0;              // of this process
  uint64_t samples = 0;            // of its jobs, each step's as soon as it is taken
  uint64_t nonfinite_buckets = 0;  // abstained because of NaN or Inf
  uint64_t nonfinite_losses = 0;   // left out of means (loss.h)
  uint64_t returned_contributions = 0;
  LinkEstimate down;               // how fast updates come
  std::string congestion_control;  // of its stream, as the kernel names it; empty: not known
  std::string waiting;             // what it waits for, in words; empty: nothing
  WorkPhase phase = WorkPhase::kUnknown;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_WORKER_REPORT_H_
