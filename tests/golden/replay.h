// Replays of recorded cases through the code that the daemons link.
#ifndef ISTHMUS_TESTS_GOLDEN_REPLAY_H_
#define ISTHMUS_TESTS_GOLDEN_REPLAY_H_

#include "tests/golden/comparison.h"
#include "tests/golden/golden_case.h"

namespace isthmus {

// Each takes a case of its kind, and leaves the first difference in `comparison`.
void ReplayDct(const GoldenCase& golden, Comparison& comparison);   // plain transforms
void ReplayDemo(const GoldenCase& golden, Comparison& comparison);  // momentum, DCT, top-k
void ReplayRows(const GoldenCase& golden, Comparison& comparison);  // random, striding, slicing
void ReplayFull(const GoldenCase& golden, Comparison& comparison);  // mean of the gradients

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GOLDEN_REPLAY_H_
