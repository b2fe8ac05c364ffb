// The RecordFormat of a run, and the tables it points to.
#ifndef ISTHMUS_COMMON_GPU_RECORD_TABLES_H_
#define ISTHMUS_COMMON_GPU_RECORD_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/compression/formats.h"
#include "common/gpu/record_format.h"

namespace isthmus {

// All tables in one run of bytes, to be copied to a device. Immutable; thread-safe.
class RecordTables {
 public:
  // CHECKs a chunk size that is a power of two from 16 to 4096.
  explicit RecordTables(const PayloadFormat& format);

  size_t size_bytes() const { return bytes_.size(); }
  // The bytes to copy to `device`, which is 16-byte aligned: tables point to each other.
  std::vector<std::byte> BytesAt(const void* device) const;
  // With pointers into that copy.
  RecordFormat FormatAt(const void* device) const;

 private:
  // Appends a table, and returns where it is.
  template <typename T>
  size_t Append(std::span<const T> table);
  void AppendNarrow(const SubsetTables& tables);
  void AppendWide(uint32_t chunk_size, uint32_t k);

  RecordFormat format_;  // without tables
  std::vector<std::byte> bytes_;
  // Where tables are in bytes_.
  size_t leaf_masks_ = 0;
  size_t leaf_ranks_ = 0;
  size_t leaf_begin_ = 0;
  size_t type_begin_ = 0;
  size_t blocks_ = 0;
  size_t splits_ = 0;
  size_t binomials_ = 0;
  struct Block {
    size_t below, types, guesses;
  };
  std::vector<Block> block_tables_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_GPU_RECORD_TABLES_H_
