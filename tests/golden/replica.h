// What every replica does with an update: the common end of the replays.
#ifndef ISTHMUS_TESTS_GOLDEN_REPLICA_H_
#define ISTHMUS_TESTS_GOLDEN_REPLICA_H_

#include <cstddef>
#include <string>
#include <vector>

#include "common/compression/update_payload.h"
#include "common/optimizer/optimizer.h"
#include "tests/golden/comparison.h"
#include "tests/golden/golden_case.h"

namespace isthmus {

// Where a step's copy of `delta`, `agg` or `param` lies among those stored: its index, or -1.
int StoredIndex(const GoldenCase& golden, int step);

// Parameters and optimizer state of one shard (of `shards`, `length` elements each).
class Replica {
 public:
  Replica(const GoldenCase& golden, size_t shard, size_t shards, size_t length);

  // Applies direction `u` of `step`, from 0, and compares parameters and, after the last step, the
  // state with what was recorded.
  void Apply(int step, const std::vector<float>& u, Comparison& comparison);

 private:
  const GoldenCase& golden_;
  const size_t shard_;
  const size_t shards_;
  OptimizerSpec spec_;
  std::vector<float> parameters_;
  std::vector<float> state1_;
  std::vector<float> state2_;
  std::vector<bool> comparable_;  // not so: agg was zero up to rounding, its sign is noise
};

// What one node sends in one round.
struct Sent {
  std::string payload;
  Selection said;  // as the payload says
};

// Direction of a bucket whose chunks daemons run, by every way that they may get it: encoded, as
// contributions, and as contributions but for the receiver's own. All must agree bit for bit.
std::vector<float> DirectionByDaemons(const UpdateFormat& format, const PayloadPlace& place,
                                      const std::vector<Sent>& sent, Comparison& comparison);

// What the nodes' payloads merge to.
MergedBucket MergeSent(MergeRule rule, const PayloadFormat& format, const PayloadPlace& place,
                       const std::vector<Sent>& sent, Comparison& comparison);

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GOLDEN_REPLICA_H_
