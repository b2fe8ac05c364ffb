// Collectives inside a replica group. One Communicator per rank; every rank must enter the same
// collectives in the same order.
#ifndef ISTHMUS_COMMON_COLLECTIVES_COMMUNICATOR_H_
#define ISTHMUS_COMMON_COLLECTIVES_COMMUNICATOR_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>

#include "common/tensor/elements.h"

namespace isthmus {

// Each call blocks until all ranks have entered it and this rank's result is there. Used by one
// thread at a time. Errors: ABORTED with the reason once any rank has called Abort(); from then on
// every call of every rank fails.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t size() const = 0;

  // `input` has the same length at every rank; `offset` and `output.size()` say which part of it
  // this rank receives: the mean over ranks, summed in rank order, divided once. Parts may be
  // unequal or empty. Sums are float32 whatever `input` holds.
  virtual absl::Status ReduceScatterMean(const Elements& input, uint64_t offset,
                                         std::span<float> output) = 0;

  // Every rank contributes `input` at `offset` of the whole; `output` (the whole) receives all
  // parts, rounded to what it holds. Parts are disjoint and cover it.
  virtual absl::Status AllGather(std::span<const float> input, uint64_t offset,
                                 const Elements& output) = 0;

  // True if `value` is true at every rank.
  virtual absl::StatusOr<bool> AllTrue(bool value) = 0;

  virtual absl::Status Barrier() = 0;

  // Wakes every rank out of its collective with ABORTED(reason). Callable from any thread.
  virtual void Abort(const absl::Status& reason) = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_COMMUNICATOR_H_
