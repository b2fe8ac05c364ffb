// An update as ApplyKernel reads it, in one run of bytes to be copied to the device: records and
// bodies aligned to words, presence maps with a directory, and the tables that point to them.
#ifndef ISTHMUS_COMMON_GPU_UPDATE_IMAGE_H_
#define ISTHMUS_COMMON_GPU_UPDATE_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/compression/update_payload.h"
#include "common/gpu/apply_kernel.h"

namespace isthmus {

// Of one rank's part of a bucket. Single-threaded; reusable.
class UpdateImage {
 public:
  // `part` lies within the update. `own`: this group's contribution to the part, which is on the
  // device already; looked at only if update.needs_own().
  void Begin(const UpdateView& update, const PayloadPlace& part, const PartRecords& own);

  size_t size_bytes() const { return size_bytes_; }

  // Writes size_bytes() to `bytes`, as they must lie at `device` (16-byte aligned), and sets what
  // of `params` says where things are. `bytes` and the update's must be there until then.
  void Write(const void* device, std::span<std::byte> bytes, ApplyParams* params) const;

 private:
  // What goes where.
  struct Piece {
    size_t at = 0;
    std::span<const std::byte> from;
  };
  // Room for `size` bytes and a little to read beyond.
  size_t Reserve(size_t size);
  size_t Add(std::span<const std::byte> from);
  struct Presence {
    const PresenceMap* map = nullptr;
    uint64_t chunks = 0;
    size_t bits = 0;
    size_t before = 0;
  };
  Presence AddPresence(const PresenceMap& map, uint64_t chunks);
  static PresenceView WritePresence(const Presence& presence, const void* device,
                                    std::span<std::byte> bytes);
  struct Part {
    PayloadPlace place;
    size_t records = 0;
    Presence presence;
    ValueFormat values = ValueFormat::kF32;
  };
  struct Contribution {
    float weight = 1.0f;
    size_t first_part = 0;
    size_t part_count = 0;
    bool own = false;
  };

  // What it has are contributions, a mean that was quantized again among them.
  bool merges() const;

  UpdateEncoding encoding_ = UpdateEncoding::kSigns;
  bool block_scales_ = false;  // of the contributions
  PayloadPlace part_;
  PayloadPlace update_;
  PartRecords own_;
  size_t size_bytes_ = 0;
  std::vector<Piece> pieces_;
  std::vector<Part> parts_;
  std::vector<Contribution> contributions_;
  size_t parts_table_ = 0;
  size_t contributions_table_ = 0;
  Presence presence_;
  size_t body_ = 0;
  size_t zeros_ = 0;
  size_t zero_count_ = 0;
  size_t values_ = 0;
  size_t value_rank_ = 0;
  std::span<const uint64_t> value_ranks_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_UPDATE_IMAGE_H_
