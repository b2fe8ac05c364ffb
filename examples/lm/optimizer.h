// Optimizers of a job that keeps its own: alone (local_service.h), or in a run of local steps
// (isthmus_service.h).
#ifndef ISTHMUS_EXAMPLES_LM_OPTIMIZER_H_
#define ISTHMUS_EXAMPLES_LM_OPTIMIZER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "examples/lm/tensors.h"

namespace isthmus::lm {

// Of a step, by parameter group.
struct Rates {
  std::array<float, kParameterGroups> learning_rate;
  std::array<float, kParameterGroups> weight_decay;
};

// Single-threaded.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Steps `parameters` by `gradients`, one pointer per tensor each, in place. The state stays with
  // the tensors in their order, wherever they lie this time.
  virtual void Step(const Rates& rates, const std::vector<float*>& parameters,
                    const std::vector<float*>& gradients) = 0;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

// Source: Loshchilov & Hutter (arXiv:1711.05101), algorithm 2.
std::unique_ptr<Optimizer> MakeAdamW(const std::vector<TensorSpec>& tensors,
                                     const AdamWOptions& options = {});

struct MuonOptions {
  // Of matrices, where AdamW has the peak learning rate: both follow the same schedule.
  double lr_to_adamw = 2.0;
  double momentum = 0.95;
  AdamWOptions adamw;  // of embeddings, which are the head too, and vectors
};

// Momentum made nearly orthogonal, for matrices: m <- momentum m + g; u = NewtonSchulz(g + momentum
// m); p <- p - lr 0.2 sqrt(max(rows, columns)) u, so that u is as large as AdamW's steps are.
//
// Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), with its
// five iterations; the scale is Moonlight's (arXiv:2502.16982), equation 4.
std::unique_ptr<Optimizer> MakeMuon(const std::vector<TensorSpec>& tensors,
                                    const MuonOptions& options = {});

using OptimizerFactory =
    std::function<std::unique_ptr<Optimizer>(const std::vector<TensorSpec>& tensors)>;
inline OptimizerFactory AdamWFactory(const AdamWOptions& options = {}) {
  return [options](const auto& tensors) { return MakeAdamW(tensors, options); };
}
inline OptimizerFactory MuonFactory(const MuonOptions& options = {}) {
  return [options](const auto& tensors) { return MakeMuon(tensors, options); };
}

// The five iterations on a matrix [rows, columns]: singular values become 0.7 to 1.2, but for those
// below some 0.002 of its norm, which stay smaller; vectors stay.
// `x` is scratch of as many elements, `square` of 2 min(rows, columns)^2.
void NewtonSchulz(int rows, int columns, std::vector<float>& x, std::vector<float>& square,
                  float* matrix);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_OPTIMIZER_H_
