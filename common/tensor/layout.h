// The layout of a job's tensors in one flat float32 vector (docs/protocol.md, P1).
#ifndef ISTHMUS_COMMON_TENSOR_LAYOUT_H_
#define ISTHMUS_COMMON_TENSOR_LAYOUT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/tensor/elements.h"

namespace isthmus {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // empty: a scalar
  DType dtype = DType::kFloat32;
  uint32_t parameter_group = 0;  // index of the learning rate and weight decay that apply
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

// A frozen tensor or buffer: carried by snapshots, never updated, not in the flat vector.
struct ConstantSpec {
  std::string name;
  uint64_t size_bytes = 0;
  friend bool operator==(const ConstantSpec&, const ConstantSpec&) = default;
};

// Limits on what a job or peer may declare.
inline constexpr uint64_t kMaxTensors = 1 << 16;
inline constexpr uint64_t kMaxNameBytes = 256;
inline constexpr uint64_t kMaxNamesBytes = 4 << 20;  // all of a layout
inline constexpr uint64_t kMaxDimensions = 16;
inline constexpr uint32_t kMaxParameterGroups = 64;
inline constexpr uint64_t kMaxFlatLength = uint64_t{1} << 40;
inline constexpr uint64_t kMaxConstantBytes = uint64_t{1} << 40;

inline constexpr uint64_t kTensorAlignment = 64;  // elements
inline constexpr uint64_t kUnitLength = 4096;     // elements; the largest chunk

// Tensors packed in attach order, each start a multiple of 64 elements; the length a multiple of
// 4096. The gaps are padding: ordinary state with zero gradient, outside the state hash.
// Immutable once made; thread-safe.
class Layout {
 public:
  // A run of elements that share a parameter group; runs tile [0, length). Padding belongs to the
  // run before it.
  struct Segment {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint32_t parameter_group = 0;
  };

  Layout() = default;

  // Errors: INVALID_ARGUMENT for no tensors, too many of anything, a name that is repeated,
  // oversize or not UTF-8, a negative or overflowing shape, a parameter group out of bounds.
  static absl::StatusOr<Layout> Create(std::vector<TensorSpec> tensors,
                                       std::vector<ConstantSpec> constants);

  uint64_t length() const { return length_; }                  // elements, padding included
  uint64_t logical_length() const { return logical_length_; }  // elements, without padding
  uint32_t parameter_groups() const { return parameter_groups_; }
  const std::vector<TensorSpec>& tensors() const { return tensors_; }
  const std::vector<ConstantSpec>& constants() const { return constants_; }
  const std::vector<uint64_t>& offsets() const { return offsets_; }  // per tensor, elements
  const std::vector<uint64_t>& counts() const { return counts_; }    // per tensor, elements
  const std::vector<Segment>& segments() const { return segments_; }
  // Byte offset of each constant in one packed buffer (64-byte aligned), and that buffer's size.
  const std::vector<uint64_t>& constant_offsets() const { return constant_offsets_; }
  uint64_t constants_bytes() const { return constants_bytes_; }

  // Empty when equal; else the first difference in words, naming tensor, expected (this layout)
  // and actual (`other`). What the elements are in the job makes no difference: masters are float32
  // at every site.
  std::string DifferenceFrom(const Layout& other) const;

 private:
  std::vector<TensorSpec> tensors_;
  std::vector<ConstantSpec> constants_;
  std::vector<uint64_t> offsets_;
  std::vector<uint64_t> counts_;
  std::vector<uint64_t> constant_offsets_;
  std::vector<Segment> segments_;
  uint64_t length_ = 0;
  uint64_t logical_length_ = 0;
  uint64_t constants_bytes_ = 0;
  uint32_t parameter_groups_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_LAYOUT_H_
