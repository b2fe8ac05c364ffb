// The merged result of one bucket, encoded for all groups (docs/protocol.md, P20). An update's
// effect is a function of the contributions alone, never of its encoding: all encodings below
// decode to the same direction, bit for bit.
//
//   update   := header presence? body
//   header   := magic:u16 version:u8 encoding:u8 flags:u8 reserved:u8 chunk_size-1:u16
//               chunk_count:u32 first_chunk:u64 round:u64 crc32c:u32
//                                        -- the crc is of everything else
//   flags    := bit 0: presence is there; bit 1: sign mode; bits 2-3: transform; the rest zero
//   presence := presence_map.h, only if some chunk is absent: nobody sent anything of it
//   signs    := only in sign mode: one bit per element and present chunk (1: negative), zero-padded
//               to a whole byte. The elements are all of the chunk's, or the k that a scheme with
//               known positions sends. Then zero*: which of these elements, counted through, have
//               a direction of exactly zero (bit 0), ascending, 32 bits each
//   ternary  := schemes with known positions in sign mode: their k elements per present chunk as
//               base-3 digits (0, 1: positive, 2: negative), five to a byte, the lowest first, the
//               last byte filled up with zeros
//   values   := per present chunk a bitmap of chunk_size bits (1: non-zero coefficient) and, after
//               all bitmaps, the non-zero coefficients as float32
//
//   requantized := of contributions with a scale per block: a contribution's payload (payload.h) of
//               all chunks, in the finer values that the format says; no presence before it. What
//               it loses of the mean is lost.
//
// One encoding more has no such payload: the contributions themselves, merged by the receiver.
//
// The direction that all of them have, naively: ReferenceMerge and ReferenceDirection of
// tests/common/compression/reference_merge.h, to which update_property_test.cc holds every
// encoding.
#ifndef ISTHMUS_COMMON_COMPRESSION_UPDATE_PAYLOAD_H_
#define ISTHMUS_COMMON_COMPRESSION_UPDATE_PAYLOAD_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/compression/formats.h"
#include "common/compression/merge.h"
#include "common/compression/payload.h"
#include "common/compression/prefetch.h"
#include "common/compression/presence_map.h"

namespace isthmus {

// One contributor's parts, encoded: disjoint, together all of the bucket.
struct EncodedContribution {
  float weight = 1.0f;
  std::vector<std::span<const std::byte>> parts;
  std::optional<PayloadFormat> format = {};  // the update's, unless its contributions differ
};

// The smallest size in bytes that a payload of `chunk_count` present chunks can have: what
// contributions are to be compared with.
uint64_t SmallestUpdateBytes(const UpdateFormat& format, uint64_t chunk_count);

// Merges `inputs` (ascending group id) and encodes the result in the smallest encoding that carries
// it exactly, other than contributions. CHECKs the chunk size.
std::string EncodeUpdate(const UpdateFormat& format, const PayloadPlace& place,
                         std::span<const MergeInput> inputs);

// What one thread needs to decode directions, kept from call to call.
class DirectionScratch {
 public:
  DirectionScratch(const UpdateFormat& format, const TileKernels& kernels);

  // What Direction() fetches while it computes: the caller's next use, parameters as a rule.
  Prefetcher ahead;

 private:
  friend class UpdateView;
  TileMerger merger_;
  std::vector<float> tile_;
  const TileKernels& kernels_;
};

// A validated update, read from any thread. Holds views of bytes, which must outlive it.
class UpdateView {
 public:
  // Errors: DATA_LOSS for a wrong checksum; INVALID_ARGUMENT naming field, expected and actual.
  static absl::StatusOr<UpdateView> Parse(std::span<const std::byte> payload,
                                          const UpdateFormat& format, const PayloadPlace& place);

  // The same in place of what this view was, with its memory. After an error it is no update.
  absl::Status SetPayload(std::span<const std::byte> payload, const UpdateFormat& format,
                          const PayloadPlace& place);

  // The update that merging `contributions` gives. That at `own`, if there is one, has no parts
  // here: the receiver passes its own to Direction(). Errors: as PayloadView::Parse, and
  // INVALID_ARGUMENT for parts that do not cover the bucket once.
  static constexpr int kNotHere = -1;
  static absl::StatusOr<UpdateView> FromContributions(
      std::span<const EncodedContribution> contributions, int own, const UpdateFormat& format,
      const PayloadPlace& place);
  // The same in place of what this view was, with its memory. After an error it is no update.
  absl::Status SetContributions(std::span<const EncodedContribution> contributions, int own,
                                const UpdateFormat& format, const PayloadPlace& place);

  const UpdateFormat& format() const { return format_; }
  UpdateEncoding encoding() const { return encoding_; }
  bool needs_own() const { return own_ != kNotHere; }

  // What the update says, for who decodes it elsewhere (on a GPU): views of the same bytes and of
  // this object.
  struct Contribution {
    float weight = 1.0f;
    std::span<const PayloadView> parts;  // none: the receiver's own
  };
  struct Contents {
    PayloadPlace place;
    const PresenceMap* presence = nullptr;
    std::span<const std::byte> body;       // signs, digits or bitmaps
    std::span<const std::byte> zeros;      // kSigns: 32 bits each
    std::span<const std::byte> values;     // kValues: float32
    std::span<const uint64_t> value_rank;  // kValues: per present chunk, values before it
    // kContributions: ascending by group; kRequantized: their mean, as if it were one.
    std::vector<Contribution> contributions;
  };
  Contents contents() const;

  // Writes the direction u of chunks [first_chunk, first_chunk + out.size() / chunk_size), which
  // must lie within the update: decoded mean, or its sign; 0 where nothing was sent. `out` holds
  // whole chunks; `own`, needed iff needs_own(), covers them. Thread-safe for distinct scratch and
  // output; allocates only where there are more contributors than `scratch` has seen.
  void Direction(uint64_t first_chunk, std::span<float> out, const PayloadView* own,
                 DirectionScratch& scratch) const;

 private:
  absl::Status ReadBody(std::span<const std::byte> body);
  absl::Status CheckCoverage(std::span<const PayloadView> parts) const;
  absl::Status ReadSigns(uint64_t elements);
  absl::Status CheckDigits(uint64_t elements) const;
  absl::Status ReadValues();
  absl::Status CheckValues(uint64_t bitmap_bytes) const;
  uint64_t SignElements() const;  // per present chunk
  void DecodeAllSigns(uint64_t first, std::span<float> out, const TileKernels& kernels) const;
  void DecodeKnown(uint64_t chunk, std::span<float> out) const;
  bool IsZero(uint64_t element) const;
  void DecodeValues(uint64_t first, std::span<float> out, DirectionScratch& scratch) const;
  bool AreRows() const;
  void DecodeRows(uint64_t first_chunk, std::span<float> out, const PayloadView* own,
                  DirectionScratch& scratch) const;
  void DecodeContributions(uint64_t first_chunk, std::span<float> out, const PayloadView* own,
                           DirectionScratch& scratch) const;

  UpdateFormat format_;
  UpdateEncoding encoding_ = UpdateEncoding::kSigns;
  PayloadPlace place_;
  PresenceMap presence_;
  std::span<const std::byte> body_;   // after the presence bits
  std::span<const std::byte> zeros_;  // kSigns: 32 bits each
  std::vector<uint64_t> value_rank_;  // kValues: per present chunk, values before it
  int own_ = kNotHere;
  // kContributions. Per contributor: weight, and where its parts end in parts_.
  struct Merged {
    float weight = 1.0f;
    size_t end = 0;
  };
  std::vector<Merged> contributors_;
  std::vector<PayloadView> parts_;
  bool sign_tiles_ = false;  // all of them have, and the receiver's own
  bool rows_ = false;        // all elements are sent as they are, and averaged or summed
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_UPDATE_PAYLOAD_H_
