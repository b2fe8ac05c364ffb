#include <algorithm>
#include <cmath>

#include "examples/lm/gemm.h"
#include "examples/lm/optimizer.h"
#include "examples/lm/parameter_set.h"

namespace isthmus::lm {
namespace {

// Embeddings are matrices of rows that have little to do with each other.
bool IsMatrix(const TensorSpec& tensor) {
  return tensor.shape.size() == 2 && tensor.parameter_group == kDecayedGroup;
}

std::vector<TensorSpec> Chosen(const std::vector<TensorSpec>& tensors, bool matrices) {
  std::vector<TensorSpec> chosen;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(chosen),
               [&](const TensorSpec& t) { return IsMatrix(t) == matrices; });
  return chosen;
}

class Muon : public Optimizer {
 public:
  Muon(const std::vector<TensorSpec>& tensors, const MuonOptions& options)
      : options_(options),
        tensors_(tensors),
        momentum_(Chosen(tensors, true)),
        update_(Chosen(tensors, true)),
        adamw_(MakeAdamW(Chosen(tensors, false), options.adamw)) {}

  void Step(const Rates& rates, const std::vector<float*>& parameters,
            const std::vector<float*>& gradients) override {
    std::vector<float*> other_parameters, other_gradients;
    size_t matrix = 0;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (IsMatrix(tensors_[i])) {
        StepMatrix(rates, tensors_[i], matrix++, gradients[i], parameters[i]);
      } else {
        other_parameters.push_back(parameters[i]);
        other_gradients.push_back(gradients[i]);
      }
    }
    adamw_->Step(rates, other_parameters, other_gradients);
  }

 private:
  void StepMatrix(const Rates& rates, const TensorSpec& tensor, size_t index, const float* gradient,
                  float* parameters) {
    const auto rows = static_cast<int>(tensor.shape[0]);
    const auto columns = static_cast<int>(tensor.shape[1]);
    const auto beta = static_cast<float>(options_.momentum);
    float* const m = momentum_.pointers()[index];
    float* const u = update_.pointers()[index];
    const int64_t size = tensor.size();
    for (int64_t j = 0; j < size; ++j) {
      m[j] = beta * m[j] + gradient[j];
      u[j] = gradient[j] + beta * m[j];
    }
    NewtonSchulz(rows, columns, x_, square_, u);
    const float lr =
        rates.learning_rate[tensor.parameter_group] * static_cast<float>(options_.lr_to_adamw);
    const float keep = 1.0f - lr * rates.weight_decay[tensor.parameter_group];
    const float step = lr * 0.2f * std::sqrt(static_cast<float>(std::max(rows, columns)));
    for (int64_t j = 0; j < size; ++j) parameters[j] = keep * parameters[j] - step * u[j];
  }

  const MuonOptions options_;
  const std::vector<TensorSpec> tensors_;
  ParameterSet<float> momentum_;  // of the matrices, in their order
  ParameterSet<float> update_;
  const std::unique_ptr<Optimizer> adamw_;  // of the others, in theirs
  std::vector<float> x_, square_;
};

}  // namespace

void NewtonSchulz(int rows, int columns, std::vector<float>& x, std::vector<float>& square,
                  float* matrix) {
  // Of the quintic a x + b x^3 + c x^5, steep at zero.
  constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  constexpr int kIterations = 5;
  const auto size = static_cast<size_t>(rows) * static_cast<size_t>(columns);
  const int small = std::min(rows, columns);
  const auto small_size = static_cast<size_t>(small) * static_cast<size_t>(small);
  x.resize(std::max(x.size(), size));
  square.resize(std::max(square.size(), 2 * small_size));
  double norm = 0;
  for (size_t j = 0; j < size; ++j) norm += double{matrix[j]} * double{matrix[j]};
  const auto scale = static_cast<float>(1.0 / (std::sqrt(norm) + 1e-7));
  for (size_t j = 0; j < size; ++j) matrix[j] *= scale;
  // The smaller square: of rows, or of columns.
  const bool wide = rows <= columns;
  float* const a = square.data();
  float* const b = a + small_size;
  for (int i = 0; i < kIterations; ++i) {
    const Operand<float> m{matrix, columns}, transposed{matrix, columns, Transpose::kYes};
    if (wide) {
      Gemm(small, small, columns, 1.0f, m, transposed, 0.0f, a, small);
    } else {
      Gemm(small, small, rows, 1.0f, transposed, m, 0.0f, a, small);
    }
    std::copy_n(a, small_size, b);
    Gemm(small, small, small, kC, Operand<float>{a, small}, Operand<float>{a, small}, kB, b, small);
    std::copy_n(matrix, size, x.data());
    const Operand<float> before{x.data(), columns}, polynomial{b, small};
    if (wide) {
      Gemm(rows, columns, small, 1.0f, polynomial, before, kA, matrix, columns);
    } else {
      Gemm(rows, columns, small, 1.0f, before, polynomial, kA, matrix, columns);
    }
  }
}

std::unique_ptr<Optimizer> MakeMuon(const std::vector<TensorSpec>& tensors,
                                    const MuonOptions& options) {
  return std::make_unique<Muon>(tensors, options);
}

}  // namespace isthmus::lm
