#include "common/exchange/snapshot.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status_macros.h"

namespace isthmus {

// --- out ---------------------------------------------------------------------------------------

bool OutgoingSnapshot::Holds(uint64_t block) const {
  return held_ && held_->size() == state_->block_hashes.size() &&
         (*held_)[block] == state_->block_hashes[block];
}

uint64_t OutgoingSnapshot::NextOffset() const {
  const uint64_t total = state_->image.bytes.size();
  const uint64_t size = StateBlockBytes(total);
  uint64_t offset = offset_;
  while (offset < total && Holds(offset / size)) offset = (offset / size + 1) * size;
  return std::min(offset, total);
}

std::optional<SnapshotPiece> OutgoingSnapshot::Next(uint64_t most_bytes) {
  if (!state_ || done_) return std::nullopt;
  const uint64_t total = state_->image.bytes.size();
  const bool first = !begun_;
  offset_ = NextOffset();
  const uint64_t block = StateBlockBytes(total);
  uint64_t size = std::min({most_bytes, kFrameBytes, window_bytes_ - (sent_ - taken_),
                            // To the block's end: the next may be held.
                            std::min(total, (offset_ / block + 1) * block) - offset_});
  if (!held_) size = std::min(size, kBeforeHeldBytes - std::min(kBeforeHeldBytes, sent_));
  if (size == 0 && (offset_ < total || !held_)) return std::nullopt;
  SnapshotPiece piece{transfer_,
                      state_->sequence,
                      state_->round,
                      total,
                      offset_,
                      state_->image.bytes.substr(offset_, size),
                      first ? state_->applied_rounds : std::vector<Round>()};
  if (first) piece.totals = state_->totals;
  if (first) piece.formats = state_->formats;
  begun_ = true;
  offset_ += size;
  sent_ += size;
  if (held_ && NextOffset() == total) {
    done_ = piece.last = true;
    piece.state_hash = StateHashOf(state_->block_hashes);
    state_->image = StateImage();  // of no more use
  }
  return piece;
}

// --- in ----------------------------------------------------------------------------------------

bool IncomingSnapshot::Offered(TransferId transfer, uint64_t state_bytes) {
  if (bytes_.size() != state_bytes) {
    bytes_.clear();
    held_ = false;
  }
  transfer_ = transfer;
  early_.clear();
  early_bytes_ = 0;
  begun_ = false;
  return !held_;
}

void IncomingSnapshot::SetHeld(TransferId transfer, StateImage image,
                               std::vector<uint64_t> block_hashes) {
  if (transfer_ != transfer || held_) return;
  bytes_ = std::move(image.bytes);
  hashes_ = std::move(block_hashes);
  touched_.assign(hashes_.size(), false);
  held_ = true;
}

std::optional<std::vector<uint64_t>> IncomingSnapshot::Held(TransferId transfer) {
  if (transfer_ != transfer || !held_) return std::nullopt;
  RehashTouched();
  return hashes_;
}

void IncomingSnapshot::Rehash(uint64_t block) {
  const uint64_t size = StateBlockBytes(bytes_.size());
  hashes_[block] = BlockHash(std::string_view(bytes_).substr(block * size, size));
  touched_[block] = false;
}

void IncomingSnapshot::RehashTouched() {
  for (uint64_t block = 0; block < touched_.size(); ++block) {
    if (touched_[block]) Rehash(block);
  }
}

void IncomingSnapshot::Aborted(TransferId transfer) {
  if (transfer_ == transfer) transfer_.reset();
}

absl::StatusOr<std::optional<WholeSnapshot>> IncomingSnapshot::Add(SnapshotPiece piece,
                                                                   uint64_t state_bytes) {
  if (piece.transfer != transfer_) return std::optional<WholeSnapshot>();  // given up meanwhile
  if (piece.total_bytes != state_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("snapshot ", piece.transfer.value(), " of ",
                                                   piece.total_bytes, " bytes: expected ",
                                                   state_bytes));
  }
  if (!held_) {
    early_bytes_ += piece.data.size();
    if (early_bytes_ > kBeforeHeldBytes || piece.last || piece.data.empty()) {
      return absl::DataLossError(absl::StrCat("snapshot ", piece.transfer.value(), " at offset ",
                                              piece.offset, ": expected at most ", kBeforeHeldBytes,
                                              " bytes before the donor knows what is held"));
    }
    early_.push_back(std::move(piece));
    return std::optional<WholeSnapshot>();
  }
  for (const SnapshotPiece& early : std::exchange(early_, {})) ISTHMUS_RETURN_IF_ERROR(Take(early));
  ISTHMUS_RETURN_IF_ERROR(Take(piece));
  if (!piece.last) return std::optional<WholeSnapshot>();
  RehashTouched();
  if (StateHashOf(hashes_) != piece.state_hash) {
    held_ = false;  // whatever is wrong with it, it is not worth keeping
    return absl::DataLossError(absl::StrCat(
        "snapshot ", piece.transfer.value(), ": the whole is not the donor's state: expected hash ",
        absl::Hex(piece.state_hash), ", got ", absl::Hex(StateHashOf(hashes_))));
  }
  auto image = std::make_shared<StateImage>(StateImage{std::move(bytes_)});
  WholeSnapshot whole{*transfer_,       sequence_, std::move(applied_rounds_),
                      std::move(image), totals_,   std::move(formats_)};
  Drop();
  return std::optional<WholeSnapshot>(std::move(whole));
}

absl::Status IncomingSnapshot::Take(const SnapshotPiece& piece) {
  if (!begun_) {
    begun_ = true;
    offset_ = 0;
    sequence_ = piece.sequence;
    applied_rounds_ = piece.applied_rounds;
    totals_ = piece.totals;
    formats_ = piece.formats;
  }
  if (piece.sequence != sequence_ || piece.offset < offset_ || piece.offset > bytes_.size() ||
      piece.data.size() > bytes_.size() - piece.offset) {
    return absl::DataLossError(absl::StrCat(
        "snapshot ", piece.transfer.value(), " of update ", piece.sequence.value(), " at offset ",
        piece.offset, ": expected update ", sequence_.value(), " at ", offset_, " or later"));
  }
  if (piece.data.empty()) return absl::OkStatus();
  std::memcpy(bytes_.data() + piece.offset, piece.data.data(), piece.data.size());
  offset_ = piece.offset + piece.data.size();
  const uint64_t size = StateBlockBytes(bytes_.size());
  for (uint64_t b = piece.offset / size; b * size < offset_; ++b) touched_[b] = true;
  if (offset_ % size == 0 || offset_ == bytes_.size()) Rehash((offset_ - 1) / size);
  return absl::OkStatus();
}

}  // namespace isthmus
