// Frames of one stream put together into updates, each checked before it is believed.
#ifndef ISTHMUS_WORKER_RPC_UPDATE_ASSEMBLER_H_
#define ISTHMUS_WORKER_RPC_UPDATE_ASSEMBLER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "common/exchange/reassembler.h"
#include "common/run/update.h"
#include "isthmus/v1/exchange.pb.h"

namespace isthmus {

// An update holds at most all coefficients of a bucket as float32, and some headers.
inline constexpr uint64_t kMaxUpdateBytes = uint64_t{1} << 30;

// Holds at most one update, and of that only what has arrived. Thread-compatible.
class UpdateAssembler {
 public:
  explicit UpdateAssembler(uint64_t max_update_bytes = kMaxUpdateBytes)
      : max_update_bytes_(max_update_bytes) {}

  // The update that `frame` completes, if it does. A frame with offset 0 begins an update and
  // drops an unfinished one. Errors: DATA_LOSS for an oversize frame or update, an offset or
  // sequence out of order, or bytes that are not the update announced.
  absl::StatusOr<std::optional<v1::Update>> Add(const v1::UpdateFrame& frame) {
    if (frame.data().size() > kFrameBytes) {
      return absl::DataLossError(absl::StrCat("update frame ", frame.sequence(), " of ",
                                              frame.data().size(), " bytes: expected at most ",
                                              kFrameBytes));
    }
    if (frame.offset() == 0) {
      if (frame.update_bytes() > max_update_bytes_) {
        return absl::DataLossError(absl::StrCat("update ", frame.sequence(), " of ",
                                                frame.update_bytes(), " bytes: expected at most ",
                                                max_update_bytes_));
      }
      sequence_ = frame.sequence();
      bytes_.Begin(frame.update_bytes(), false);  // so much is not believed before it has come
      peer_wait_ = absl::Microseconds(static_cast<int64_t>(frame.peer_wait_micros()));
    }
    if (frame.sequence() != sequence_ || !bytes_.Follows(frame.offset(), frame.data().size())) {
      return absl::DataLossError(absl::StrCat("update frame ", frame.sequence(), " at offset ",
                                              frame.offset(), ": expected ", sequence_, " at ",
                                              bytes_.have()));
    }
    if (!bytes_.Add(frame.data())) return std::optional<v1::Update>();
    v1::Update update;
    if (!update.ParseFromString(bytes_.Take()) || update.sequence() != sequence_) {
      return absl::DataLossError(absl::StrCat("update ", sequence_, " does not parse"));
    }
    return std::optional<v1::Update>(std::move(update));
  }

  // How long the coordinator says that it waited for others; of the update begun last.
  absl::Duration peer_wait() const { return peer_wait_; }

 private:
  const uint64_t max_update_bytes_;
  uint64_t sequence_ = 0;
  Reassembler bytes_;
  absl::Duration peer_wait_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_UPDATE_ASSEMBLER_H_
