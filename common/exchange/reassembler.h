// Bytes of one thing at a time, put together from frames that come in order.
#ifndef ISTHMUS_COMMON_EXCHANGE_REASSEMBLER_H_
#define ISTHMUS_COMMON_EXCHANGE_REASSEMBLER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace isthmus {

// What a frame means and which sizes may be believed is the caller's; here is what both ends of a
// stream need alike. Holds no more than has arrived, unless told to reserve. Thread-compatible.
class Reassembler {
 public:
  // Drops what was unfinished. `reserve`: the caller has made sure that the size can be believed.
  void Begin(uint64_t total_bytes, bool reserve) {
    total_ = total_bytes;
    bytes_.clear();
    if (reserve) bytes_.reserve(total_bytes);
    begun_ = true;
  }

  // A frame of `size` bytes at `offset` follows what is here, and is no longer than what is
  // missing. False before Begin() and once all has been taken, so that no empty frame completes it
  // again.
  bool Follows(uint64_t offset, uint64_t size) const {
    return begun_ && offset == bytes_.size() && size <= missing();
  }
  // Only what Follows(). True: all is here.
  bool Add(std::string_view data) {
    bytes_.append(data);
    return bytes_.size() == total_;
  }
  // All of it; nothing is begun any more.
  std::string Take() {
    begun_ = false;
    total_ = 0;
    return std::exchange(bytes_, {});
  }

  bool begun() const { return begun_; }
  uint64_t have() const { return bytes_.size(); }
  uint64_t missing() const { return total_ - bytes_.size(); }

 private:
  bool begun_ = false;
  uint64_t total_ = 0;
  std::string bytes_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_REASSEMBLER_H_
