// What a group takes in, what of it crosses to the others, what stays behind, and what is done with
// what comes back: a run's scheme in plain values, so that ranks on CPUs and on GPUs, and whoever
// merges, follow one rule (docs/protocol.md, P10, P12, P17). How it is transformed, selected and
// said in bits is a round's format (round_format.h).
#ifndef ISTHMUS_COMMON_RUN_EXCHANGE_POLICY_H_
#define ISTHMUS_COMMON_RUN_EXCHANGE_POLICY_H_

#include <cstdint>
#include <optional>

#include "common/optimizer/optimizer.h"
#include "common/run/run_spec.h"

namespace isthmus {

// What is taken in: the step's gradient; or progress, how far the job has gone since the last
// exchange: what its parameters were given less what they are now.
enum class ExchangeSource : uint8_t { kGradient = 0, kProgress = 1 };

struct ExchangePolicy {
  ExchangeSource source = ExchangeSource::kGradient;
  // m <- decay m + scale T(x): x is what is taken in, T the format's transform. Scale is the
  // learning rate in runs that keep it in the momentum, else 1.
  float decay = 1.0f;
  bool lr_scales = false;
  // The share of what is sent that leaves the momentum; a late contribution's comes back.
  float alpha = 1.0f;
  // False: contributions say nothing, and every group applies what it would have sent, by itself.
  bool exchanges = true;
  // How the merged direction steps the masters, and at which rate if not at the job's.
  OptimizerSpec optimizer;
  std::optional<float> outer_lr;

  // The job steps by an optimizer of its own.
  bool job_steps() const { return source == ExchangeSource::kProgress; }

  // It goes on from where it was while an exchange is under way (P29): its way since is kept.
  bool keeps_way = false;

  float Scale(float lr) const { return lr_scales ? lr : 1.0f; }
};

// Schemes that send everything keep no momentum of their own: what is left in it is what rounding
// left and late contributions returned.
inline ExchangePolicy PolicyOf(const RunSpec& run) {
  const bool sends_all = run.scheme == Scheme::kFull || run.scheme == Scheme::kNone;
  const bool local = run.scheme == Scheme::kLocal;
  return {.source = local ? ExchangeSource::kProgress : ExchangeSource::kGradient,
          .decay = sends_all ? 1.0f : run.decay,
          .lr_scales = !sends_all && run.lr_in_momentum,
          .alpha = sends_all ? 1.0f : run.alpha,
          .exchanges = run.scheme != Scheme::kNone,
          .optimizer = run.optimizer,
          .outer_lr = local ? std::optional(run.outer_lr) : std::nullopt,
          .keeps_way = local && run.format.overlap > 0};
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_EXCHANGE_POLICY_H_
