// The text a model learns from: files read as bytes, split for training and validation, and the
// windows that each rank reads.
#ifndef ISTHMUS_EXAMPLES_LM_TEXT_H_
#define ISTHMUS_EXAMPLES_LM_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace isthmus::lm {

// Of each file the first nine tenths train and the rest validates, so neither sees the other's
// bytes.
class Text {
 public:
  // Each path is a file, or a directory that stands for its regular text files in order of name:
  // no symlinks, no files with NUL bytes, no subdirectories.
  // Errors: NOT_FOUND, INVALID_ARGUMENT (nothing to read), RESOURCE_EXHAUSTED beyond 1 GiB.
  static absl::StatusOr<Text> Load(absl::Span<const std::string> paths);

  void Append(std::string_view file);

  const std::string& train() const { return train_; }
  const std::string& validation() const { return validation_; }

  // Cross-entropy in nats per byte of the validation bytes under the training bytes' frequencies:
  // what a model reaches that looks at no context. A count of one is added to every symbol.
  double UnigramEntropy() const;

 private:
  std::string train_;
  std::string validation_;
};

// `count` sequences of `length` bytes, and for each byte the one that follows it.
struct Batch {
  int count = 0;
  int length = 0;
  std::vector<uint8_t> inputs;   // [count, length]
  std::vector<uint8_t> targets;  // [count, length]

  // Allocates only where the batch grows.
  void Resize(int new_count, int new_length);
  // Sequence `index` becomes the window of `text` at `start`.
  void Set(int index, std::string_view text, size_t start);
};

// Whose batch it is: every key reads windows of its own.
struct BatchKey {
  uint64_t seed;
  uint32_t group_index;
  uint32_t rank;
  uint64_t round;
};

// Windows of `text`, longer than `length`, drawn from the key alone.
void FillRandom(std::string_view text, const BatchKey& key, int count, int length, Batch* batch);

// Windows [first, first + count) of the `total` that lie evenly spaced over `text`: the same at
// every site. `text` is longer than `length`.
void FillSpaced(std::string_view text, int first, int count, int total, int length, Batch* batch);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_TEXT_H_
