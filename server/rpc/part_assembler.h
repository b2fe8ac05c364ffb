// Frames of one stream put together into whole parts, each checked before anything is allocated
// for it.
#ifndef ISTHMUS_SERVER_RPC_PART_ASSEMBLER_H_
#define ISTHMUS_SERVER_RPC_PART_ASSEMBLER_H_

#include <absl/status/statusor.h>

#include <functional>
#include <optional>
#include <utility>

#include "common/compression/payload.h"
#include "common/exchange/messages.h"
#include "common/exchange/reassembler.h"
#include "isthmus/v1/exchange.pb.h"

namespace isthmus {

// Holds at most one part, of the size that its chunk run has in the run's format.
// Thread-compatible.
class PartAssembler {
 public:
  // What the sender's contributions to a bucket look like in a round; none of a round that nobody
  // remembers, whose parts are passed over; an error where there is no such bucket.
  using ShapeOf =
      std::function<absl::StatusOr<std::optional<PayloadShape>>(Round round, BucketIndex bucket)>;
  explicit PartAssembler(ShapeOf shape_of) : shape_of_(std::move(shape_of)) {}

  // The part that `frame` completes, if it does. A frame with offset 0 begins a part and drops an
  // unfinished one (its sender was told Closed). Errors: INVALID_ARGUMENT for an oversize frame, a
  // part outside its bucket, a size that does not fit its chunk run, rates of more parameter groups
  // than any layout has, or an offset out of order.
  absl::StatusOr<std::optional<WholePart>> Add(const v1::PartFrame& frame);

 private:
  absl::Status Begin(const v1::PartFrame& frame);

  const ShapeOf shape_of_;
  bool passing_over_ = false;  // the part begun last
  std::optional<WholePart> part_;
  Reassembler payload_;  // of part_
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_RPC_PART_ASSEMBLER_H_
