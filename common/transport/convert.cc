#include "common/transport/convert.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/run/spec_fields.h"

namespace isthmus {

namespace {

using google::protobuf::FieldDescriptor;

// Of a message that the table of run spec fields (common/run/spec_fields.h) has an entry for.
const FieldDescriptor& FieldOf(const SpecField& field) {
  const FieldDescriptor* const found = v1::RunSpec::descriptor()->FindFieldByName(field.name);
  ISTHMUS_CHECK(found != nullptr);
  return *found;
}

// A field that may be unset is, where it says what a run spec says by itself: initial_donor
// "lowest", and what was added since peers and states were first written (P28).
bool IsUnset(const v1::RunSpec& message, const FieldDescriptor& field) {
  return field.has_presence() && !message.GetReflection()->HasField(message, &field);
}

std::string TextIn(const google::protobuf::Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_FLOAT:  // nine digits say every float exactly
      return absl::StrFormat("%.9g", reflection.GetFloat(message, &field));
    default:
      ISTHMUS_CHECK(false);
      return "";
  }
}

void SetIn(google::protobuf::Message* message, const FieldDescriptor& field,
           const std::string& text) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  uint32_t u32 = 0;
  uint64_t u64 = 0;
  float number = 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(message, &field, text);
    case FieldDescriptor::CPPTYPE_UINT32:
      ISTHMUS_CHECK(absl::SimpleAtoi(text, &u32));
      return reflection.SetUInt32(message, &field, u32);
    case FieldDescriptor::CPPTYPE_UINT64:
      ISTHMUS_CHECK(absl::SimpleAtoi(text, &u64));
      return reflection.SetUInt64(message, &field, u64);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(message, &field, text == "true");
    case FieldDescriptor::CPPTYPE_FLOAT:
      ISTHMUS_CHECK(absl::SimpleAtof(text, &number));
      return reflection.SetFloat(message, &field, number);
    default:
      ISTHMUS_CHECK(false);
  }
}

}  // namespace

void ToProto(const RunSpec& spec, v1::RunSpec* out) {
  const RunSpec unset;
  for (const SpecField& field : SpecFields()) {
    const FieldDescriptor& to = FieldOf(field);
    if (to.has_presence() && field.text(spec) == field.text(unset)) continue;
    SetIn(out, to, field.text(spec));
  }
}

absl::StatusOr<RunSpec> FromProto(const v1::RunSpec& in) {
  RunSpec spec;
  for (const SpecField& field : SpecFields()) {
    if (IsUnset(in, FieldOf(field))) continue;
    ISTHMUS_RETURN_IF_ERROR(field.parse(TextIn(in, FieldOf(field)), &spec));
  }
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

void ToProto(const RunTotals& totals, v1::RunTotals* out) {
  out->set_steps(totals.steps);
  out->set_samples(totals.samples);
}

RunTotals FromProto(const v1::RunTotals& in) { return {in.steps(), in.samples()}; }

void ToProto(const LinkEstimate& estimate, v1::LinkEstimate* out) {
  out->set_bytes_per_second(estimate.bytes_per_second);
  out->set_at_least(estimate.at_least);
  out->set_samples(estimate.samples);
}

LinkEstimate FromProto(const v1::LinkEstimate& in) {
  const double rate = in.bytes_per_second();
  if (!(rate > 0) || !std::isfinite(rate)) return {};
  return {rate, in.at_least(), in.samples()};
}

void ToProto(const ContributionInfo& info, v1::ContributionInfo* out) {
  out->set_base_round(info.base_round.value());
  out->set_samples(info.samples);
  out->set_loss(info.loss);
  out->mutable_lr()->Assign(info.lr.begin(), info.lr.end());
  out->mutable_weight_decay()->Assign(info.weight_decay.begin(), info.weight_decay.end());
  out->set_steps(info.steps);
}

ContributionInfo FromProto(const v1::ContributionInfo& in) {
  return {Round(in.base_round()),
          in.samples(),
          in.loss(),
          std::vector<float>(in.lr().begin(), in.lr().end()),
          std::vector<float>(in.weight_decay().begin(), in.weight_decay().end()),
          std::max<uint64_t>(in.steps(), 1)};
}

void ToProto(const FormatChange& change, v1::FormatChange* out) {
  RunSpec with;
  with.format = change.format;
  out->set_from(change.from.value());
  for (const char* const name : FormatFields()) {
    const FieldDescriptor* const to = v1::FormatChange::descriptor()->FindFieldByName(name);
    SetIn(out, *to, FindSpecField(name)->text(with));
  }
}

absl::StatusOr<FormatChange> FromProto(const v1::FormatChange& in) {
  RunSpec with;
  for (const char* const name : FormatFields()) {
    const FieldDescriptor* const from = v1::FormatChange::descriptor()->FindFieldByName(name);
    ISTHMUS_RETURN_IF_ERROR(FindSpecField(name)->parse(TextIn(in, *from), &with));
  }
  return FormatChange{Round(in.from()), with.format};
}

absl::StatusOr<std::vector<FormatChange>> FromProto(
    const google::protobuf::RepeatedPtrField<v1::FormatChange>& in) {
  std::vector<FormatChange> changes;
  for (const v1::FormatChange& change : in) {
    ISTHMUS_ASSIGN_OR_RETURN(FormatChange next, FromProto(change));
    if (!changes.empty() && next.from <= changes.back().from) {
      return absl::InvalidArgumentError(absl::StrCat("change of formats from round ",
                                                     next.from.value(), ": expected after round ",
                                                     changes.back().from.value()));
    }
    changes.push_back(std::move(next));
  }
  return changes;
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
  if (header.totals != RunTotals()) ToProto(header.totals, out->mutable_totals());
  if (header.change) ToProto(*header.change, out->mutable_change());
}

absl::StatusOr<UpdateHeader> FromProto(const v1::Update& in) {
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
  header.totals = FromProto(in.totals());
  if (in.has_change()) {
    ISTHMUS_ASSIGN_OR_RETURN(header.change, FromProto(in.change()));
  }
  return header;
}

}  // namespace isthmus
