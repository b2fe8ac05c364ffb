// Both ends of a snapshot: cutting an image into pieces within a window, and putting pieces
// together.
#ifndef ISTHMUS_WORKER_DAEMON_SNAPSHOT_RELAY_H_
#define ISTHMUS_WORKER_DAEMON_SNAPSHOT_RELAY_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/run/update.h"
#include "worker/rpc/exchange_client.h"
#include "worker/step/pipeline.h"

namespace isthmus {

// A snapshot on its way out. Thread-compatible.
class OutgoingSnapshot {
 public:
  OutgoingSnapshot(TransferId transfer, Sequence sequence, Round round,
                   std::vector<Round> applied_rounds, uint64_t window_bytes)
      : transfer_(transfer),
        sequence_(sequence),
        round_(round),
        applied_rounds_(std::move(applied_rounds)),
        window_bytes_(window_bytes) {}

  TransferId transfer() const { return transfer_; }
  void SetImage(StateImage image) { image_ = std::move(image); }
  void Acked(uint64_t offset) { acked_ = std::max(acked_, offset); }

  // The next piece that the window allows, if any.
  std::optional<SnapshotPiece> Next() {
    if (!image_ || offset_ == image_->bytes.size()) return std::nullopt;
    const uint64_t size = std::min({kFrameBytes, window_bytes_, image_->bytes.size() - offset_});
    if (offset_ + size > acked_ + window_bytes_) return std::nullopt;
    SnapshotPiece piece{transfer_, sequence_,
                        round_,    image_->bytes.size(),
                        offset_,   image_->bytes.substr(offset_, size),
                        {}};
    if (offset_ == 0) piece.applied_rounds = applied_rounds_;
    offset_ += size;
    return piece;
  }

 private:
  TransferId transfer_;
  Sequence sequence_;
  Round round_;
  std::vector<Round> applied_rounds_;
  uint64_t window_bytes_;
  std::optional<StateImage> image_;
  uint64_t offset_ = 0;
  uint64_t acked_ = 0;
};

struct WholeSnapshot {
  TransferId transfer;
  Sequence sequence;
  std::vector<Round> applied_rounds;
  std::shared_ptr<const StateImage> image;
};

// A snapshot on its way in; a piece with offset 0 begins anew. Thread-compatible.
class IncomingSnapshot {
 public:
  // `expected_bytes` is the size of this group's state. Errors: INVALID_ARGUMENT for another size,
  // DATA_LOSS for a gap.
  absl::StatusOr<std::optional<WholeSnapshot>> Add(SnapshotPiece piece, uint64_t expected_bytes) {
    if (piece.total_bytes != expected_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("snapshot ", piece.transfer.value(), " of ",
                                                     piece.total_bytes, " bytes: expected ",
                                                     expected_bytes));
    }
    if (piece.offset == 0) {
      transfer_ = piece.transfer;
      sequence_ = piece.sequence;
      applied_rounds_ = std::move(piece.applied_rounds);
      bytes_.clear();
      bytes_.reserve(expected_bytes);
    }
    if (piece.transfer != transfer_ || piece.sequence != sequence_ ||
        piece.offset != bytes_.size() || piece.data.size() > expected_bytes - bytes_.size()) {
      return absl::DataLossError(absl::StrCat("snapshot ", piece.transfer.value(), " at offset ",
                                              piece.offset, ": expected snapshot ",
                                              transfer_.value(), " at ", bytes_.size()));
    }
    bytes_ += piece.data;
    if (bytes_.size() < expected_bytes) return std::optional<WholeSnapshot>();
    auto image = std::make_shared<StateImage>(StateImage{std::move(bytes_)});
    bytes_.clear();
    return std::optional<WholeSnapshot>(
        WholeSnapshot{transfer_, sequence_, std::move(applied_rounds_), std::move(image)});
  }

 private:
  TransferId transfer_;
  Sequence sequence_;
  std::vector<Round> applied_rounds_;
  std::string bytes_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_SNAPSHOT_RELAY_H_
