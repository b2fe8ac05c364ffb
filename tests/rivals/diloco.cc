#include "tests/rivals/diloco.h"

#include <algorithm>
#include <utility>

namespace isthmus::rivals {

Diloco::Diloco(const DilocoOptions& options, std::vector<lm::TensorSpec> tensors, int sites,
               const std::vector<float*>& initial, std::unique_ptr<const Compressor> compressor)
    : options_(options), specs_(std::move(tensors)), compressor_(std::move(compressor)) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const auto size = static_cast<size_t>(specs_[i].size());
    tensors_.push_back({.global = std::vector<float>(initial[i], initial[i] + size),
                        .momentum = std::vector<float>(size),
                        .errors = {}});
    if (compressor_ != nullptr) {
      tensors_[i].errors.assign(static_cast<size_t>(sites), std::vector<float>(size));
    }
  }
}

void Diloco::Round(const PerSite& parameters) {
  const float share = 1.0f / static_cast<float>(parameters.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    gradient_.assign(tensors_[i].global.size(), 0.0f);
    for (size_t site = 0; site < parameters.size(); ++site) {
      const std::vector<float>& sent = Sent(i, site, parameters[site][i]);
      for (size_t j = 0; j < sent.size(); ++j) gradient_[j] += share * sent[j];
    }
    StepOuter(gradient_, &tensors_[i]);
    for (const std::vector<float*>& site : parameters) {
      std::copy(tensors_[i].global.begin(), tensors_[i].global.end(), site[i]);
    }
  }
}

const std::vector<float>& Diloco::Sent(size_t i, size_t site, const float* parameters) {
  Tensor& tensor = tensors_[i];
  sent_.resize(tensor.global.size());
  for (size_t j = 0; j < sent_.size(); ++j) sent_[j] = tensor.global[j] - parameters[j];
  if (compressor_ == nullptr) return sent_;

  std::vector<float>& error = tensor.errors[site];
  for (size_t j = 0; j < sent_.size(); ++j) {
    error[j] = sent_[j] = options_.error_decay * error[j] + sent_[j];
  }
  compressor_->Compress(specs_[i], sent_.data());
  for (size_t j = 0; j < sent_.size(); ++j) error[j] -= sent_[j];
  return sent_;
}

void Diloco::StepOuter(const std::vector<float>& gradient, Tensor* tensor) const {
  for (size_t j = 0; j < gradient.size(); ++j) {
    float& momentum = tensor->momentum[j];
    momentum = options_.outer_momentum * momentum + gradient[j];
    tensor->global[j] -= options_.outer_lr * (gradient[j] + options_.outer_momentum * momentum);
  }
}

double Diloco::bytes_per_round() const {
  double bytes = 0;
  for (const lm::TensorSpec& spec : specs_) {
    bytes += compressor_ != nullptr
                 ? compressor_->bytes(spec)
                 : static_cast<double>(sizeof(float)) * static_cast<double>(spec.size());
  }
  return bytes;
}

}  // namespace isthmus::rivals
