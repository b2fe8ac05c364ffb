#include "server/rpc/part_assembler.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/compression/payload.h"
#include "common/tensor/layout.h"
#include "common/transport/convert.h"

namespace isthmus {
namespace {

absl::Status FrameError(const v1::PartFrame& frame, const char* field,
                        const absl::AlphaNum& expected, uint64_t actual) {
  return absl::InvalidArgumentError(absl::StrCat("part frame of round ", frame.round(), " bucket ",
                                                 frame.bucket(), ": ", field, ": expected ",
                                                 expected, ", got ", actual));
}

}  // namespace

absl::Status PartAssembler::Begin(const v1::PartFrame& frame) {
  part_.reset();
  ISTHMUS_ASSIGN_OR_RETURN(const std::optional<PayloadShape> shape,
                           shape_of_(Round(frame.round()), BucketIndex(frame.bucket())));
  passing_over_ = !shape.has_value();
  if (passing_over_) return absl::OkStatus();
  const ChunkRun& bucket = shape->chunks;
  if (!bucket.Holds({frame.first_chunk(), frame.chunk_count()})) {
    return absl::InvalidArgumentError(
        absl::StrCat("part frame of round ", frame.round(), " bucket ", frame.bucket(), ": ",
                     frame.chunk_count(), " chunks from ", frame.first_chunk(),
                     ", expected within [", bucket.first, ", ", bucket.end(), ")"));
  }
  const uint64_t most = LargestPayloadBytes(shape->format, frame.chunk_count());
  if (frame.payload_bytes() == 0 || frame.payload_bytes() > most) {
    return FrameError(frame, "payload_bytes", absl::StrCat("1 to ", most), frame.payload_bytes());
  }
  const int rates = std::max(frame.info().lr_size(), frame.info().weight_decay_size());
  if (rates > static_cast<int>(kMaxParameterGroups)) {
    return FrameError(frame, "parameter groups", absl::StrCat("at most ", kMaxParameterGroups),
                      static_cast<uint64_t>(rates));
  }
  part_.emplace(WholePart{Round(frame.round()),
                          BucketIndex(frame.bucket()),
                          {frame.first_chunk(), frame.chunk_count()},
                          FromProto(frame.info()),
                          ""});
  payload_.Begin(frame.payload_bytes(), true);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<WholePart>> PartAssembler::Add(const v1::PartFrame& frame) {
  if (frame.data().size() > kFrameBytes) {
    return FrameError(frame, "data bytes", absl::StrCat("at most ", kFrameBytes),
                      frame.data().size());
  }
  if (frame.offset() == 0) ISTHMUS_RETURN_IF_ERROR(Begin(frame));
  if (passing_over_) return std::optional<WholePart>();
  if (!part_) return FrameError(frame, "offset", 0, frame.offset());
  if (frame.round() != part_->round.value()) {
    return FrameError(frame, "round", part_->round.value(), frame.round());
  }
  if (frame.bucket() != part_->bucket.value()) {
    return FrameError(frame, "bucket", part_->bucket.value(), frame.bucket());
  }
  if (frame.first_chunk() != part_->chunks.first) {
    return FrameError(frame, "first_chunk", part_->chunks.first, frame.first_chunk());
  }
  if (frame.offset() != payload_.have()) {
    return FrameError(frame, "offset", payload_.have(), frame.offset());
  }
  if (!payload_.Follows(frame.offset(), frame.data().size())) {
    return FrameError(frame, "data bytes", absl::StrCat("at most ", payload_.missing()),
                      frame.data().size());
  }
  if (!payload_.Add(frame.data())) return std::optional<WholePart>();
  part_->payload = payload_.Take();
  std::optional<WholePart> whole = std::move(part_);
  part_.reset();
  return whole;
}

}  // namespace isthmus
