// A run of elements.
#ifndef ISTHMUS_COMMON_TENSOR_EXTENT_H_
#define ISTHMUS_COMMON_TENSOR_EXTENT_H_

#include <cstdint>

namespace isthmus {

// Elements [begin, end): of the flat vector, unless it says otherwise.
struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t size() const { return end - begin; }
  bool empty() const { return begin == end; }
  friend bool operator==(const Extent&, const Extent&) = default;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_EXTENT_H_
