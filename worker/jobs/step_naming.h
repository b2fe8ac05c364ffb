// A step at which all ranks of a job stop, though nobody knows how far each has come by the time
// that it hears of it (client/job_wire.h, docs/protocol.md P29).
#ifndef ISTHMUS_WORKER_JOBS_STEP_NAMING_H_
#define ISTHMUS_WORKER_JOBS_STEP_NAMING_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "worker/jobs/job_server.h"

namespace isthmus {

// Names one, from `not_before` on, that no rank had passed when all could see it, and returns it. A
// rank says how far it is before it looks, and this looks after it has said where to stop, so one
// of the two sees the other: whoever has not taken so many steps by now will stop there. If
// somebody has, it may have looked too early; then a later step is named, and ranks that have
// stopped at the one before are to be sent on. That ends soon, since whoever looks stops. Nothing
// for ranks that say what cannot be: no libisthmus would.
inline std::optional<uint64_t> NameStepFor(std::span<JobPace* const> ranks, uint64_t not_before) {
  constexpr uint64_t kMostSteps = uint64_t{1} << 62;
  constexpr int kAttempts = 1000;
  uint64_t step = not_before;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    for (const JobPace* rank : ranks) {
      const uint64_t steps = rank->steps();
      if (steps >= kMostSteps) return std::nullopt;
      step = std::max(step, steps + 1);
    }
    for (JobPace* rank : ranks) rank->SetExchangeAt(step);
    const bool passed =
        std::ranges::any_of(ranks, [&](const JobPace* rank) { return rank->steps() >= step; });
    if (!passed) return step;
  }
  return std::nullopt;
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_STEP_NAMING_H_
