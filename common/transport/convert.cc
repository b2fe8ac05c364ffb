#include "common/transport/convert.h"

#include <absl/strings/str_cat.h>

#include "common/base/status_macros.h"

namespace isthmus {

void ToProto(const RunSpec& spec, v1::RunSpec* out) {
  out->set_scheme(Name(spec.scheme));
  out->set_chunk_size(spec.chunk_size);
  out->set_k(spec.k);
  out->set_decay(spec.decay);
  out->set_lr_in_momentum(spec.lr_in_momentum);
  out->set_values(Name(spec.values));
  out->set_sign(spec.sign);
  out->set_merge(Name(spec.merge));
  out->set_optimizer(Name(spec.optimizer.kind));
  out->set_sgd_momentum(spec.optimizer.momentum);
  out->set_adam_beta1(spec.optimizer.beta1);
  out->set_adam_beta2(spec.optimizer.beta2);
  out->set_adam_epsilon(spec.optimizer.epsilon);
  out->set_bucket_length(spec.bucket_length);
  out->set_rounds(spec.rounds);
  out->set_start_groups(spec.start_groups);
  out->set_min_groups(spec.min_groups);
  if (spec.initial_donor) out->set_initial_donor(spec.initial_donor->value());
  out->set_alpha(spec.alpha);
  out->set_seed(spec.seed);
  out->set_audit_rounds(spec.audit_rounds);
}

absl::StatusOr<RunSpec> FromProto(const v1::RunSpec& in) {
  RunSpec spec;
  ISTHMUS_ASSIGN_OR_RETURN(spec.scheme, ParseScheme(in.scheme()));
  spec.chunk_size = in.chunk_size();
  spec.k = in.k();
  spec.decay = in.decay();
  spec.lr_in_momentum = in.lr_in_momentum();
  ISTHMUS_ASSIGN_OR_RETURN(spec.values, ParseValueFormat(in.values()));
  spec.sign = in.sign();
  ISTHMUS_ASSIGN_OR_RETURN(spec.merge, ParseMergeRule(in.merge()));
  ISTHMUS_ASSIGN_OR_RETURN(spec.optimizer.kind, ParseOptimizerKind(in.optimizer()));
  spec.optimizer.momentum = in.sgd_momentum();
  spec.optimizer.beta1 = in.adam_beta1();
  spec.optimizer.beta2 = in.adam_beta2();
  spec.optimizer.epsilon = in.adam_epsilon();
  spec.bucket_length = in.bucket_length();
  spec.rounds = in.rounds();
  spec.start_groups = in.start_groups();
  spec.min_groups = in.min_groups();
  if (in.has_initial_donor()) spec.initial_donor = GroupId(in.initial_donor());
  spec.alpha = in.alpha();
  spec.seed = in.seed();
  spec.audit_rounds = in.audit_rounds();
  ISTHMUS_RETURN_IF_ERROR(Validate(spec));
  return spec;
}

void ToProto(const Layout& layout, v1::Layout* out) {
  for (const TensorSpec& tensor : layout.tensors()) {
    v1::Layout::Tensor* t = out->add_tensors();
    t->set_name(tensor.name);
    t->mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    t->set_dtype(static_cast<uint32_t>(tensor.dtype));
    t->set_parameter_group(tensor.parameter_group);
  }
  for (const ConstantSpec& constant : layout.constants()) {
    v1::Layout::Constant* c = out->add_constants();
    c->set_name(constant.name);
    c->set_size_bytes(constant.size_bytes);
  }
}

absl::StatusOr<Layout> FromProto(const v1::Layout& in) {
  // Before anything is copied: a message of two bytes per tensor holds many more than a layout may.
  const auto tensor_count = static_cast<uint64_t>(in.tensors_size());
  const auto constant_count = static_cast<uint64_t>(in.constants_size());
  if (tensor_count > kMaxTensors || constant_count > kMaxTensors) {
    return absl::InvalidArgumentError(absl::StrCat("at most ", kMaxTensors,
                                                   " tensors and as many constants, got ",
                                                   tensor_count, " and ", constant_count));
  }
  std::vector<TensorSpec> tensors;
  for (const v1::Layout::Tensor& t : in.tensors()) {
    if (t.dtype() > static_cast<uint32_t>(DType::kBFloat16)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", t.name().substr(0, kMaxNameBytes),
                                                     "': dtype ", t.dtype(), ", expected 0 or 1"));
    }
    tensors.push_back({t.name(), std::vector<int64_t>(t.shape().begin(), t.shape().end()),
                       static_cast<DType>(t.dtype()), t.parameter_group()});
  }
  std::vector<ConstantSpec> constants;
  for (const v1::Layout::Constant& c : in.constants()) {
    constants.push_back({c.name(), c.size_bytes()});
  }
  return Layout::Create(std::move(tensors), std::move(constants));
}

void ToProto(const ContributionInfo& info, v1::ContributionInfo* out) {
  out->set_base_round(info.base_round.value());
  out->set_samples(info.samples);
  out->set_loss(info.loss);
  out->mutable_lr()->Assign(info.lr.begin(), info.lr.end());
  out->mutable_weight_decay()->Assign(info.weight_decay.begin(), info.weight_decay.end());
}

ContributionInfo FromProto(const v1::ContributionInfo& in) {
  return {Round(in.base_round()), in.samples(), in.loss(),
          std::vector<float>(in.lr().begin(), in.lr().end()),
          std::vector<float>(in.weight_decay().begin(), in.weight_decay().end())};
}

void ToProto(const UpdateHeader& header, v1::Update* out) {
  out->set_sequence(header.sequence.value());
  out->set_round(header.round.value());
  out->set_bucket(header.bucket.value());
  for (const Contributor& contributor : header.contributors) {
    v1::Contributor* c = out->add_contributors();
    c->set_group_id(contributor.group.value());
    c->set_incarnation(contributor.incarnation.value());
    c->set_samples(contributor.samples);
    c->set_loss(contributor.loss);
  }
  for (const ParameterGroupScalars& scalars : header.scalars) {
    v1::ParameterGroupScalars* s = out->add_scalars();
    s->set_lr(scalars.lr);
    s->set_decay(scalars.decay);
  }
  out->set_bias1(header.bias1);
  out->set_bias2_sqrt(header.bias2_sqrt);
  out->set_first(header.first);
}

UpdateHeader FromProto(const v1::Update& in) {
  UpdateHeader header;
  header.sequence = Sequence(in.sequence());
  header.round = Round(in.round());
  header.bucket = BucketIndex(in.bucket());
  for (const v1::Contributor& c : in.contributors()) {
    header.contributors.push_back(
        {GroupId(c.group_id()), Incarnation(c.incarnation()), c.samples(), c.loss()});
  }
  for (const v1::ParameterGroupScalars& s : in.scalars()) {
    header.scalars.push_back({s.lr(), s.decay()});
  }
  header.bias1 = in.bias1();
  header.bias2_sqrt = in.bias2_sqrt();
  header.first = in.first();
  return header;
}

}  // namespace isthmus
