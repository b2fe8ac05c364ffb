// A snapshot's pieces as frames of the stream, with a checksum each.
#ifndef ISTHMUS_COMMON_TRANSPORT_SNAPSHOT_FRAME_H_
#define ISTHMUS_COMMON_TRANSPORT_SNAPSHOT_FRAME_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/exchange/messages.h"
#include "common/transport/convert.h"
#include "isthmus/v1/exchange.pb.h"

namespace isthmus {

inline uint32_t SnapshotCrc(const std::string& data) {
  return Crc32c(std::as_bytes(std::span(data.data(), data.size())));
}

inline void ToFrame(SnapshotPiece piece, v1::SnapshotFrame* frame) {
  frame->set_transfer(piece.transfer.value());
  frame->set_sequence(piece.sequence.value());
  frame->set_round(piece.round.value());
  frame->set_total_bytes(piece.total_bytes);
  frame->set_offset(piece.offset);
  frame->set_crc32c(SnapshotCrc(piece.data));
  frame->set_data(std::move(piece.data));
  for (Round round : piece.applied_rounds) frame->add_applied_rounds(round.value());
  if (piece.totals != RunTotals()) ToProto(piece.totals, frame->mutable_totals());
  for (const FormatChange& change : piece.formats) ToProto(change, frame->add_formats());
  frame->set_last(piece.last);
  frame->set_state_hash(piece.state_hash);
}

// Takes the data out of `frame`. Errors: DATA_LOSS for a wrong checksum,
// INVALID_ARGUMENT for formats that are none.
inline absl::StatusOr<SnapshotPiece> FromFrame(v1::SnapshotFrame& frame) {
  if (SnapshotCrc(frame.data()) != frame.crc32c()) {
    return absl::DataLossError(
        absl::StrCat("snapshot ", frame.transfer(), ": wrong checksum at ", frame.offset()));
  }
  SnapshotPiece piece{TransferId(frame.transfer()),
                      Sequence(frame.sequence()),
                      Round(frame.round()),
                      frame.total_bytes(),
                      frame.offset(),
                      std::move(*frame.mutable_data()),
                      {},
                      frame.last(),
                      frame.state_hash()};
  for (uint64_t round : frame.applied_rounds()) piece.applied_rounds.emplace_back(round);
  piece.totals = FromProto(frame.totals());
  ISTHMUS_ASSIGN_OR_RETURN(piece.formats, FromProto(frame.formats()));
  return piece;
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_SNAPSHOT_FRAME_H_
