#include "examples/lm/model.h"

#include <algorithm>
#include <cmath>

#include "examples/lm/gemm.h"
#include "examples/lm/layer_norm.h"
#include "examples/lm/linear.h"
#include "examples/lm/vector_math.h"

namespace isthmus::lm {
namespace {

template <typename View, typename T>
std::vector<View> BlockViews(const std::vector<T*>& tensors, int layers) {
  std::vector<View> views;
  for (int layer = 0; layer < layers && !tensors.empty(); ++layer) {
    T* const* t = tensors.data() + kFirstBlock + layer * kTensorsPerBlock;
    views.push_back({t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11]});
  }
  return views;
}

}  // namespace

template <typename T>
Model<T>::Model(const ModelConfig& config, int max_batch)
    : config_(config), max_batch_(max_batch), scratch_(Shape(max_batch, config.context)) {
  UseOneBlasThread();
  const BlockShape largest = Shape(max_batch, config.context);
  blocks_.reserve(config.layers);
  for (int layer = 0; layer < config.layers; ++layer) blocks_.emplace_back(largest);
  const size_t rows = largest.rows();
  last_.resize(rows * config.width);
  last_mean_.resize(rows);
  last_deviation_.resize(rows);
  last_norm_.resize(rows * config.width);
  logits_.resize(rows * kSymbols);
  d_.resize(rows * config.width);
}

template <typename T>
void Model<T>::Bind(absl::Span<T* const> parameters, absl::Span<T* const> gradients) {
  parameters_.assign(parameters.begin(), parameters.end());
  gradients_.assign(gradients.begin(), gradients.end());
  block_parameters_ = BlockViews<BlockTensors<const T>>(parameters_, config_.layers);
  block_gradients_ = BlockViews<BlockTensors<T>>(gradients_, config_.layers);
}

template <typename T>
BlockShape Model<T>::Shape(int batch, int length) const {
  return {batch, length, config_.width, config_.heads};
}

template <typename T>
T* Model<T>::BlockInput(int layer) {
  return layer < config_.layers ? blocks_[layer].input.data() : last_.data();
}

template <typename T>
void Model<T>::Embed(const uint8_t* inputs, const BlockShape& shape) {
  const int width = shape.width;
  T* x = BlockInput(0);
  for (int row = 0; row < shape.rows(); ++row, x += width) {
    const T* token = parameters_[kTokenEmbedding] + int64_t{inputs[row]} * width;
    const T* position = parameters_[kPositionEmbedding] + int64_t{row % shape.length} * width;
    for (int i = 0; i < width; ++i) x[i] = token[i] + position[i];
  }
}

template <typename T>
void Model<T>::ForwardToLogits(const uint8_t* inputs, const BlockShape& shape) {
  Embed(inputs, shape);
  for (int layer = 0; layer < config_.layers; ++layer) {
    BlockForward(shape, block_parameters_[layer], &blocks_[layer], BlockInput(layer + 1));
  }
  const T* gain = *(parameters_.end() - 2);
  const T* bias = *(parameters_.end() - 1);
  LayerNormForward(shape.rows(), shape.width, last_.data(), gain, bias, last_mean_.data(),
                   last_deviation_.data(), last_norm_.data());
  LinearForward<T>({shape.rows(), shape.width, kSymbols}, last_norm_.data(),
                   parameters_[kTokenEmbedding], nullptr, nullptr, logits_.data());
}

template <typename T>
T Model<T>::Forward(const Batch& batch) {
  const BlockShape shape = Shape(batch.count, batch.length);
  ForwardToLogits(batch.inputs.data(), shape);
  double loss = 0;
  for (int64_t row = 0; row < shape.rows(); ++row) {
    T* logits = logits_.data() + row * kSymbols;
    const T target = logits[batch.targets[row]];
    loss += Softmax(logits, kSymbols) - target;
  }
  return static_cast<T>(loss / shape.rows());
}

template <typename T>
void Model<T>::Backward(const Batch& batch) {
  const BlockShape shape = Shape(batch.count, batch.length);
  const int rows = shape.rows();
  // The gradient at the logits is (softmax - target) / rows.
  const T scale = T(1) / T(rows);
  T* d_logits = logits_.data();
  for (int64_t i = 0; i < int64_t{rows} * kSymbols; ++i) d_logits[i] *= scale;
  for (int64_t row = 0; row < rows; ++row) d_logits[row * kSymbols + batch.targets[row]] -= scale;

  T* d_norm = scratch_.narrow.data();
  LinearBackward<T>({rows, shape.width, kSymbols}, last_norm_.data(), parameters_[kTokenEmbedding],
                    d_logits, d_norm, gradients_[kTokenEmbedding], nullptr);
  std::fill_n(d_.data(), int64_t{rows} * shape.width, T(0));
  LayerNormBackward<T>(rows, shape.width, last_.data(), *(parameters_.end() - 2), last_mean_.data(),
                       last_deviation_.data(), d_norm, d_.data(), *(gradients_.end() - 2),
                       *(gradients_.end() - 1));
  for (int layer = config_.layers - 1; layer >= 0; --layer) {
    BlockBackward(shape, block_parameters_[layer], blocks_[layer], block_gradients_[layer],
                  &scratch_, d_.data());
  }
  BackwardEmbedding(batch, shape);
}

template <typename T>
void Model<T>::BackwardEmbedding(const Batch& batch, const BlockShape& shape) {
  const int width = shape.width;
  T* d_position = gradients_[kPositionEmbedding];
  std::fill_n(d_position, int64_t{config_.context} * width, T(0));
  const T* d = d_.data();
  for (int row = 0; row < shape.rows(); ++row, d += width) {
    // The token embedding already holds the output head's gradient: they are one tensor.
    T* token = gradients_[kTokenEmbedding] + int64_t{batch.inputs[row]} * width;
    T* position = d_position + int64_t{row % shape.length} * width;
    for (int i = 0; i < width; ++i) token[i] += d[i];
    for (int i = 0; i < width; ++i) position[i] += d[i];
  }
}

template <typename T>
const T* Model<T>::NextLogits(absl::Span<const uint8_t> text) {
  const BlockShape shape = Shape(1, static_cast<int>(text.size()));
  ForwardToLogits(text.data(), shape);
  return logits_.data() + (text.size() - 1) * kSymbols;
}

template class Model<float>;
template class Model<double>;

}  // namespace isthmus::lm
