#include "tests/golden/replica.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "common/kernels/simd.h"

namespace isthmus {
namespace {

OptimizerSpec SpecOf(const nlohmann::json& manifest) {
  OptimizerSpec spec;
  spec.momentum = manifest.at("momentum");
  if (manifest.at("optimizer") == "adamw") {
    spec.kind = OptimizerKind::kAdamW;
    spec.beta1 = manifest.at("beta1");
    spec.beta2 = manifest.at("beta2");
    spec.epsilon = manifest.at("eps");
  }
  return spec;
}

// As the coordinator computes them (P11): in double, rounded once.
OptimizerScalars ScalarsOf(const nlohmann::json& manifest, const OptimizerSpec& spec, int step) {
  const double lr = manifest.at("lr");
  const double weight_decay = manifest.at("weight_decay");
  OptimizerScalars scalars;
  scalars.lr = static_cast<float>(lr);
  scalars.decay = static_cast<float>((1.0 - lr * weight_decay) *
                                     (1.0 - lr * manifest.value("adamw_weight_decay", 0.0)));
  scalars.bias1 = static_cast<float>(1.0 - std::pow(static_cast<double>(spec.beta1), step + 1));
  scalars.bias2_sqrt =
      static_cast<float>(std::sqrt(1.0 - std::pow(static_cast<double>(spec.beta2), step + 1)));
  scalars.first = step == 0;
  return scalars;
}

double LargestMagnitude(const std::vector<double>& values) {
  double largest = 0.0;
  for (double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// 1 - beta is computed from the float32 beta, of which 1 - 0.999f is 4.7e-5 larger than 0.001. The
// bias corrections use the same beta, so parameters agree; the moments differ by just that ratio.
double RoundingOfBeta(double beta, float rounded) {
  return std::abs((1.0 - static_cast<double>(rounded)) / (1.0 - beta) - 1.0);
}

}  // namespace

int StoredIndex(const GoldenCase& golden, int step) {
  const std::vector<int> stored = golden.manifest().at("stored_steps");
  const auto found = std::find(stored.begin(), stored.end(), step);
  return found == stored.end() ? -1 : static_cast<int>(found - stored.begin());
}

Replica::Replica(const GoldenCase& golden, size_t shard, size_t shards, size_t length)
    : golden_(golden),
      shard_(shard),
      shards_(shards),
      spec_(SpecOf(golden.manifest())),
      comparable_(length, true) {
  // The last shard is padded with zeros beyond the parameter.
  std::vector<float> padded = golden.Floats("param0", 0, golden.array("param0").size());
  padded.resize(shards * length);
  const auto begin = padded.begin() + static_cast<ptrdiff_t>(shard * length);
  parameters_.assign(begin, begin + static_cast<ptrdiff_t>(length));
  const int vectors = OptimizerStateVectors(spec_);
  state1_.resize(vectors >= 1 ? length : 0);
  state2_.resize(vectors >= 2 ? length : 0);
}

void Replica::Apply(int step, const std::vector<float>& u, Comparison& comparison) {
  const nlohmann::json& manifest = golden_.manifest();
  const size_t length = parameters_.size();
  const OptimizerScalars scalars = ScalarsOf(manifest, spec_, step);
  ApplyDirection(spec_, scalars, u, parameters_, state1_, state2_);
  if (golden_.has("sign_ok")) {
    const std::vector<double>& sign_ok = golden_.array("sign_ok");
    const size_t begin = (static_cast<size_t>(step) * shards_ + shard_) * length;
    for (size_t i = 0; i < length; ++i) {
      comparable_[i] = comparable_[i] && sign_ok.at(begin + i) != 0.0;
    }
  }
  if (const int stored = StoredIndex(golden_, step); stored >= 0) {
    const double tolerance = 2e-6 * manifest.at("scale_of").at("param").get<double>() +
                             1e-6 * manifest.at("lr").get<double>();
    comparison.Expect("param", (static_cast<size_t>(stored) * shards_ + shard_) * length,
                      parameters_, tolerance, comparable_);
  }
  if (step + 1 != manifest.at("steps") || !golden_.has("exp_avg")) return;
  const double beta1 = manifest.at("beta1");
  const double beta2 = manifest.at("beta2");
  comparison.Expect(
      "exp_avg", shard_ * length, state1_,
      (1e-5 + RoundingOfBeta(beta1, spec_.beta1)) * LargestMagnitude(golden_.array("exp_avg")),
      comparable_);
  comparison.Expect(
      "exp_avg_sq", shard_ * length, state2_,
      (1e-5 + RoundingOfBeta(beta2, spec_.beta2)) * LargestMagnitude(golden_.array("exp_avg_sq")),
      comparable_);
}

std::vector<float> DirectionByDaemons(const UpdateFormat& format, const PayloadPlace& place,
                                      const std::vector<Sent>& sent, Comparison& comparison) {
  std::vector<PayloadView> views;
  std::vector<EncodedContribution> contributions;
  for (const Sent& one : sent) {
    const auto bytes = std::as_bytes(std::span(one.payload));
    contributions.push_back({1.0f, {bytes}});
    views.push_back(PayloadView::Parse(bytes, format.contribution, place).value());
  }
  std::vector<MergeInput> inputs;
  for (const PayloadView& view : views) inputs.push_back({1.0f, {&view, 1}});
  const std::string update = EncodeUpdate(format, place, inputs);
  const int own = static_cast<int>(sent.size()) - 1;
  const absl::StatusOr<UpdateView> ways[] = {
      UpdateView::Parse(std::as_bytes(std::span(update)), format, place),
      UpdateView::FromContributions(contributions, UpdateView::kNotHere, format, place),
      UpdateView::FromContributions(contributions, own, format, place)};
  DirectionScratch scratch(format, ActiveKernels());
  std::vector<float> first;
  for (const absl::StatusOr<UpdateView>& way : ways) {
    if (!way.ok()) {
      comparison.Fail(way.status().ToString());
      continue;
    }
    std::vector<float> u(place.chunks.count * format.contribution.chunk_size);
    way->Direction(place.chunks.first, u, way->needs_own() ? &views.back() : nullptr, scratch);
    if (first.empty()) first = u;
    if (std::memcmp(first.data(), u.data(), u.size() * sizeof(float)) != 0) {
      comparison.Fail("the direction depends on how the update came");
    }
  }
  first.resize(place.chunks.count * format.contribution.chunk_size);
  return first;
}

MergedBucket MergeSent(MergeRule rule, const PayloadFormat& format, const PayloadPlace& place,
                       const std::vector<Sent>& sent, Comparison& comparison) {
  std::vector<PayloadView> views;
  for (const Sent& one : sent) {
    const auto view = PayloadView::Parse(std::as_bytes(std::span(one.payload)), format, place);
    if (!view.ok()) comparison.Fail(view.status().ToString());
    views.push_back(view.ok() ? *view : PayloadView());
  }
  std::vector<MergeInput> inputs;
  for (const PayloadView& view : views) inputs.push_back({1.0f, {&view, 1}});
  return Merge(rule, format, place.chunks.first, place.chunks.count, inputs);
}

}  // namespace isthmus
