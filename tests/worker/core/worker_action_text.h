// What the worker's core asks for, in words, so that a test reads as a list of them.
#ifndef ISTHMUS_TESTS_WORKER_CORE_WORKER_ACTION_TEXT_H_
#define ISTHMUS_TESTS_WORKER_CORE_WORKER_ACTION_TEXT_H_

#include <optional>
#include <string>
#include <vector>

#include "worker/core/worker_core.h"

namespace isthmus {

// "round 3 bucket 0" is written 3/0.
std::string ToText(const WorkerAction& action);

// A core of group 5 in incarnation 2, and what it has asked for since the last look.
class CoreUnderTest {
 public:
  explicit CoreUnderTest(Round last_round = Round(0), uint32_t audit_rounds = 0,
                         bool job_steps = false, const RunSpec& run = RunSpec())
      : core({GroupId(5), Incarnation(2), last_round, audit_rounds, job_steps, false, run}) {}

  // In words; forgets them.
  std::vector<std::string> Texts();
  // Attached, connected and started in round 1, with nothing left to say.
  void Start(uint32_t buckets);
  // The next update in the sequence; lists group 5 if `listed`.
  absl::Status Update(Round round, BucketIndex bucket, bool listed,
                      const std::optional<FormatChange>& change = std::nullopt);

  WorkerCore core;
  WorkerActions out;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_WORKER_CORE_WORKER_ACTION_TEXT_H_
