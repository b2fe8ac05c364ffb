// Asking for memory ahead of its use: computing then covers the wait.
#ifndef ISTHMUS_COMMON_COMPRESSION_PREFETCH_H_
#define ISTHMUS_COMMON_COMPRESSION_PREFETCH_H_

#include <algorithm>
#include <cstddef>
#include <span>

namespace isthmus {

// Fetches values that will be read and written, a few at a time: a processor tracks some 20 lines
// on their way and stands still when asked for more. Single-threaded.
class Prefetcher {
 public:
  Prefetcher() = default;
  explicit Prefetcher(std::span<const float> values)
      : at_(values.data()), end_(values.data() + values.size()) {}

  // The next 16 cache lines.
  void Some() { To(at_ + std::min(16 * kLine, end_ - at_)); }
  // All that are left.
  void Rest() { To(end_); }

 private:
  static constexpr ptrdiff_t kLine = 64 / sizeof(float);

  void To(const float* stop) {
    for (; at_ < stop; at_ += kLine) __builtin_prefetch(at_, 1, 2);
  }

  const float* at_ = nullptr;
  const float* end_ = nullptr;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_PREFETCH_H_
