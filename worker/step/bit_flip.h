// A fault for rehearsals of the audit: ranks of which one flips a bit of its masters.
#ifndef ISTHMUS_WORKER_STEP_BIT_FLIP_H_
#define ISTHMUS_WORKER_STEP_BIT_FLIP_H_

#include <memory>

#include "common/base/ids.h"
#include "worker/step/rank_state.h"

namespace isthmus {

// Ranks as `ranks` makes them, but that once, before the first update of a round after `round` is
// applied, the rank that owns the vector's first element flips the highest bit of the mantissa of
// its largest master: more than rounding would undo. It takes room for an image of the state.
std::unique_ptr<LocalRanks> FlipBitAfter(Round round, std::unique_ptr<LocalRanks> ranks);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_BIT_FLIP_H_
