// The model's extents and the list of its tensors: what a job declares when it attaches.
#ifndef ISTHMUS_EXAMPLES_LM_TENSORS_H_
#define ISTHMUS_EXAMPLES_LM_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace isthmus::lm {

inline constexpr int kSymbols = 256;  // bytes

// Bounds of a model's extents.
inline constexpr int kMaxWidth = 8192, kMaxLayers = 256, kMaxHeads = 256, kMaxContext = 8192;

struct ModelConfig {
  int width = 128;
  int layers = 5;
  int heads = 4;
  int context = 64;  // longest sequence, in bytes
};

// INVALID_ARGUMENT, naming the field, unless each extent is within its bounds and heads divide
// width.
absl::Status Validate(const ModelConfig& config);

// Parameter groups: matrices decay; biases, gains and embeddings do not.
inline constexpr uint32_t kDecayedGroup = 0;
inline constexpr uint32_t kUndecayedGroup = 1;
inline constexpr uint32_t kParameterGroups = 2;

// How a tensor starts, after GPT-2.
enum class Initialisation {
  kZero,
  kOne,
  kNormal,
  kPosition,    // half of kNormal's deviation
  kProjection,  // kNormal's over sqrt(2 layers): it ends a branch of the residual stream
};

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // row-major
  uint32_t parameter_group;
  Initialisation initialisation;

  int64_t size() const;
};

// In the order of attaching: embeddings, the blocks, the final normalisation. The output head is
// the token embedding, transposed, and has no tensor of its own.
std::vector<TensorSpec> ModelTensors(const ModelConfig& config);

int64_t TotalSize(const std::vector<TensorSpec>& tensors);

// Positions in that list.
inline constexpr int kTokenEmbedding = 0;
inline constexpr int kPositionEmbedding = 1;
inline constexpr int kFirstBlock = 2;
inline constexpr int kTensorsPerBlock = 12;

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_TENSORS_H_
