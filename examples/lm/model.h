// A byte-level decoder-only transformer: token and position embeddings, blocks, a final
// normalisation, and the token embedding again as output head.
#ifndef ISTHMUS_EXAMPLES_LM_MODEL_H_
#define ISTHMUS_EXAMPLES_LM_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "examples/lm/block.h"
#include "examples/lm/tensors.h"
#include "examples/lm/text.h"

namespace isthmus::lm {

// Holds activations, not parameters: those stay wherever Bind() points, such as the shared buffers
// of an isthmus session. All memory is taken by the constructor.
//
// T is float for training and double in gradient checks. Single-threaded; the same inputs give the
// same bits on the same machine.
template <typename T>
class Model {
 public:
  // `config` passes Validate(); `max_batch` sequences at once.
  Model(const ModelConfig& config, int max_batch);

  // One pointer per tensor of ModelTensors(config), each at as many elements as its spec says.
  // They must live as long as they are bound. Gradients may be empty when only Forward() is used.
  void Bind(absl::Span<T* const> parameters, absl::Span<T* const> gradients);

  // Mean cross-entropy in nats per byte over the batch, of at most max_batch sequences and context
  // bytes each.
  T Forward(const Batch& batch);

  // Overwrites the gradients with those of the loss that Forward(batch) just returned.
  void Backward(const Batch& batch);

  // The next symbol's distribution after `text`, at most context bytes: [kSymbols] logits, valid
  // until the next call.
  const T* NextLogits(absl::Span<const uint8_t> text);

  const ModelConfig& config() const { return config_; }
  int max_batch() const { return max_batch_; }

 private:
  BlockShape Shape(int batch, int length) const;
  void Embed(const uint8_t* inputs, const BlockShape& shape);
  void ForwardToLogits(const uint8_t* inputs, const BlockShape& shape);
  void BackwardEmbedding(const Batch& batch, const BlockShape& shape);
  // Where block `layer` reads its input; the last index is the final normalisation's.
  T* BlockInput(int layer);

  const ModelConfig config_;
  const int max_batch_;
  std::vector<BlockActivations<T>> blocks_;
  std::vector<T> last_, last_mean_, last_deviation_, last_norm_;
  std::vector<T> logits_;  // softmax replaces them in Forward()
  BlockScratch<T> scratch_;
  std::vector<T> d_;  // gradient along the residual stream

  std::vector<T*> parameters_;
  std::vector<T*> gradients_;
  std::vector<BlockTensors<const T>> block_parameters_;
  std::vector<BlockTensors<T>> block_gradients_;
};

extern template class Model<float>;
extern template class Model<double>;

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_MODEL_H_
