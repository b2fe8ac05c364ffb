// Collectives inside a replica group. One Communicator per rank; every rank must enter the same
// collectives in the same order.
#ifndef ISTHMUS_COMMON_COLLECTIVES_COMMUNICATOR_H_
#define ISTHMUS_COMMON_COLLECTIVES_COMMUNICATOR_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>

#include "common/tensor/elements.h"
#include "common/tensor/partition.h"

namespace isthmus {

// Each call blocks until all ranks have entered it and this rank's result is there. Used by one
// thread at a time. Errors: ABORTED with the reason once any rank has called Abort(); from then on
// every call of every rank fails.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t size() const = 0;

  // `whole` is the partition's vector, the same at every rank, and stays there until the call
  // returns.
  //
  // `output` receives, packed, what this rank has of the mean over ranks of their `input`s: summed
  // in rank order, divided once. Sums are float32 whatever `input` holds.
  virtual absl::Status ReduceScatterMean(const Elements& input, const Partition& whole,
                                         std::span<float> output) = 0;

  // `input` is what this rank has, packed; `output` receives what all have, rounded to what it
  // holds.
  virtual absl::Status AllGather(std::span<const float> input, const Partition& whole,
                                 const Elements& output) = 0;

  // True if `value` is true at every rank.
  virtual absl::StatusOr<bool> AllTrue(bool value) = 0;

  virtual absl::Status Barrier() = 0;

  // Wakes every rank out of its collective with ABORTED(reason). Callable from any thread.
  virtual void Abort(const absl::Status& reason) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_COMMUNICATOR_H_
