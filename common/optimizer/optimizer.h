// Applying an update's direction to the float32 masters: SGD and AdamW in fixed-order float32,
// each operation rounded once, so that every group computes the same bits (docs/protocol.md, P21).
#ifndef ISTHMUS_COMMON_OPTIMIZER_OPTIMIZER_H_
#define ISTHMUS_COMMON_OPTIMIZER_OPTIMIZER_H_

#include <cstdint>
#include <span>

namespace isthmus {

enum class OptimizerKind : uint8_t { kSgd = 0, kAdamW = 1, kNesterov = 2 };

// Fixed for a run.
struct OptimizerSpec {
  OptimizerKind kind = OptimizerKind::kSgd;
  float momentum = 0.0f;  // kSgd, kNesterov; 0 keeps no buffer
  float beta1 = 0.9f;     // kAdamW
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  friend bool operator==(const OptimizerSpec&, const OptimizerSpec&) = default;
};

// State vectors per parameter: 0, 1 (SGD momentum) or 2 (Adam moments).
int OptimizerStateVectors(const OptimizerSpec& spec);

// What one application needs besides the direction. Travels in the update, computed once by the
// coordinator in double and rounded to float32 (P11).
struct OptimizerScalars {
  float lr = 0.0f;
  float decay = 1.0f;       // 1 - lr * weight_decay
  float bias1 = 1.0f;       // kAdamW: 1 - beta1^t
  float bias2_sqrt = 1.0f;  // kAdamW: sqrt(1 - beta2^t)
  bool first = false;       // SGD momentum: the buffer starts as u
};

// p <- decay * p, then
//   SGD:    buf = first ? u : momentum * buf + u (only if momentum > 0);  p <- p - lr * buf (or u)
//   Nesterov: the same buf;  p <- p - lr * (momentum * buf + u)
//   AdamW:  m <- b1 m + (1-b1) u;  v <- b2 v + (1-b2) u^2;
//           p <- p - (lr / bias1) * (m / (sqrt(v) / bias2_sqrt + epsilon))
// `state1` and `state2` have the length of `parameters`, or are empty where the spec keeps none.
// Thread-safe for distinct data.
void ApplyDirection(const OptimizerSpec& spec, const OptimizerScalars& scalars,
                    std::span<const float> direction, std::span<float> parameters,
                    std::span<float> state1, std::span<float> state2);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_OPTIMIZER_OPTIMIZER_H_
