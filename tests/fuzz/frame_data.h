// The data of frames, of which one is larger than any input.
#ifndef ISTHMUS_TESTS_FUZZ_FRAME_DATA_H_
#define ISTHMUS_TESTS_FUZZ_FRAME_DATA_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "common/run/update.h"
#include "tests/fuzz/fuzz_input.h"

namespace isthmus::fuzz {

inline constexpr uint64_t kMaxFrameData = kFrameBytes + 1;

// Of the frames of one input. A pattern costs the input nothing; so that none takes long, it gets
// no more than so much of it in all.
class FrameData {
 public:
  explicit FrameData(uint64_t max_pattern = 2 * kMaxFrameData) : left_(max_pattern) {}

  // Reads `size:number [raw: bytes]` into `data`: without bytes a pattern that differs from place
  // to place, shorter than asked for when there is no more of it.
  void Read(Input& input, bool raw, std::string* data) {
    uint64_t size = std::min(input.Number(), kMaxFrameData);
    if (raw) {
      *data = input.Bytes(size);
      return;
    }
    size = std::min(size, left_);
    left_ -= size;
    data->assign(Pattern(), size % kPeriod, size);
  }

 private:
  static constexpr uint64_t kPeriod = 251;

  static const std::string& Pattern() {
    static const auto& pattern = *new std::string([] {
      std::string bytes;
      for (uint64_t i = 0; i < kMaxFrameData + kPeriod; ++i) {
        bytes.push_back(static_cast<char>(i % kPeriod));
      }
      return bytes;
    }());
    return pattern;
  }

  uint64_t left_;
};

// `frame` but for its data.
template <typename Frame>
void CopyHead(Frame& frame, Frame* head) {
  std::string data;
  data.swap(*frame.mutable_data());
  *head = frame;
  data.swap(*frame.mutable_data());
}

// What a model of a stream keeps its data in: empty, of one input after the other, so that each
// need not allocate it again.
inline std::string& ModelData() {
  static auto& data = *new std::string;
  data.clear();
  return data;
}

}  // namespace isthmus::fuzz

#endif  // ISTHMUS_TESTS_FUZZ_FRAME_DATA_H_
