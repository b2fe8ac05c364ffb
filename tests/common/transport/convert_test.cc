#include "common/transport/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace isthmus {
namespace {

using testing::HasSubstr;

// Every field differs from its default, apart from those of local steps.
RunSpec UnusualSpec() {
  RunSpec spec;
  spec.scheme = Scheme::kFlexDemo;
  spec.format.chunk_size = 128;
  spec.format.all.k = 9;
  spec.decay = 0.75f;
  spec.alpha = 0.375f;
  spec.lr_in_momentum = true;
  spec.format.all.values = ValueFormat::kF32;
  spec.sign = false;
  spec.merge = MergeRule::kSum;
  spec.optimizer = {OptimizerKind::kAdamW, 0.5f, 0.25f, 0.125f, 0.0625f};
  spec.bucket_length = 8192;
  spec.rounds = uint64_t{1} << 40;
  spec.start_groups = 5;
  spec.min_groups = 3;
  spec.initial_donor = GroupId(4);
  spec.audit_rounds = 7;
  spec.seed = (uint64_t{1} << 63) + 1;
  spec.format.own = {{GroupId(3), {1, ValueFormat::kOneBit}},
                     {GroupId(70), {128, ValueFormat::kInt4}}};
  return spec;
}

RunSpec UnusualLocalSpec() {
  RunSpec spec = DefaultRunSpec(Scheme::kLocal);
  spec.format.every = {.steps = 30};
  spec.format.overlap = 4;
  spec.selection = SelectionKind::kStriding;
  spec.format.all = {.k = 16, .values = ValueFormat::kTwoBit};
  spec.outer_lr = 0.7f;
  spec.optimizer = {.kind = OptimizerKind::kNesterov, .momentum = 0.9f};
  return spec;
}

TEST(ConvertTest, RunSpecsRoundTrip) {
  RunSpec without_donor = UnusualSpec();
  without_donor.initial_donor.reset();
  RunSpec donor_zero = UnusualSpec();
  donor_zero.initial_donor = GroupId(0);
  for (const RunSpec& spec :
       {RunSpec(), DefaultRunSpec(Scheme::kFull), DefaultRunSpec(Scheme::kRandom),
        DefaultRunSpec(Scheme::kStriding), DefaultRunSpec(Scheme::kSlicing),
        DefaultRunSpec(Scheme::kNone), DefaultRunSpec(Scheme::kLocal), UnusualSpec(),
        UnusualLocalSpec(), without_donor, donor_zero}) {
    v1::RunSpec message;
    ToProto(spec, &message);
    const auto back = FromProto(message);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, spec);
  }
}

TEST(ConvertTest, LocalStepsTravelInWords) {
  v1::RunSpec message;
  ToProto(UnusualLocalSpec(), &message);
  EXPECT_EQ(message.scheme(), "local");
  EXPECT_EQ(message.every(), "30 steps");
  EXPECT_EQ(message.overlap(), 4u);
  EXPECT_EQ(message.selection(), "striding");
  EXPECT_EQ(message.outer_lr(), 0.7f);
  EXPECT_EQ(message.optimizer(), "nesterov");
}

// What was written before these fields were is read, and what has no use for them is written, as it
// was.
TEST(ConvertTest, P28_WithoutTheFieldsOfLocalStepsTheyAreTheDefaults) {
  v1::RunSpec other;
  ToProto(UnusualSpec(), &other);
  EXPECT_FALSE(other.has_every());
  EXPECT_FALSE(other.has_overlap());
  EXPECT_FALSE(other.has_selection());
  EXPECT_FALSE(other.has_outer_lr());
  v1::RunSpec message;
  RunSpec spec = UnusualLocalSpec();
  spec.format.all.k = spec.format.chunk_size;  // of dense, which is the default
  ToProto(spec, &message);
  EXPECT_TRUE(message.has_every());
  EXPECT_TRUE(message.has_selection());
  EXPECT_TRUE(message.has_outer_lr());
  message.clear_every();
  message.clear_overlap();
  message.clear_selection();
  message.clear_outer_lr();
  const auto back = FromProto(message);
  ASSERT_TRUE(back.ok()) << back.status();
  const RunSpec unset;
  EXPECT_EQ(back->format.every, Period{1});
  EXPECT_EQ(back->selection, SelectionKind::kDense);
  EXPECT_EQ(back->outer_lr, 1.0f);
  spec.format.every = unset.format.every;
  spec.format.overlap = 0;
  spec.selection = unset.selection;
  spec.outer_lr = unset.outer_lr;
  EXPECT_EQ(*back, spec);
}

TEST(ConvertTest, RunSpecsThatCannotRunAreRefused) {
  const auto refused = [](const std::function<void(v1::RunSpec&)>& change,
                          const std::string& words) {
    v1::RunSpec message;
    ToProto(UnusualSpec(), &message);
    change(message);
    const auto spec = FromProto(message);
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << words;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr(words));
  };
  refused([](v1::RunSpec& m) { m.set_scheme("new"); }, "scheme: expected one of");
  refused([](v1::RunSpec& m) { m.set_values("f8"); }, "values: expected one of");
  refused([](v1::RunSpec& m) { m.set_merge("max"); }, "merge: expected one of");
  refused([](v1::RunSpec& m) { m.set_optimizer(""); }, "optimizer: expected one of");
  refused([](v1::RunSpec& m) { m.set_chunk_size(100); }, "run spec: chunk_size");
  refused([](v1::RunSpec& m) { m.clear_alpha(); }, "run spec: alpha");
  refused([](v1::RunSpec& m) { m.set_min_groups(6); }, "run spec: min_groups");
  refused([](v1::RunSpec& m) { m.set_every(""); }, "every: expected steps, samples or seconds");
  refused([](v1::RunSpec& m) { m.set_every("30 rounds"); },
          "every: expected steps, samples or seconds");
  refused([](v1::RunSpec& m) { m.set_every("2 steps"); }, "run spec: every");
  refused([](v1::RunSpec& m) { m.set_selection("all"); }, "selection: expected one of");
  refused([](v1::RunSpec& m) { m.set_selection("top-k"); }, "run spec: selection");
  refused([](v1::RunSpec& m) { m.set_outer_lr(0.5f); }, "run spec: outer_lr");
  EXPECT_FALSE(FromProto(v1::RunSpec()).ok());
}

TEST(ConvertTest, LayoutsRoundTrip) {
  const Layout layout = *Layout::Create(
      {{"w", {3, 5}, DType::kBFloat16, 1}, {"scalar", {}, DType::kFloat32, 0}}, {{"mask", 100}});
  v1::Layout message;
  ToProto(layout, &message);
  const auto back = FromProto(message);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(layout.DifferenceFrom(*back), "");
  EXPECT_EQ(back->tensors(), layout.tensors());
  EXPECT_EQ(back->constants(), layout.constants());
}

TEST(ConvertTest, LayoutsThatNobodyCanHoldAreRefused) {
  v1::Layout message;
  EXPECT_EQ(FromProto(message).status().code(), absl::StatusCode::kInvalidArgument);
  v1::Layout::Tensor* tensor = message.add_tensors();
  tensor->set_name("w");
  tensor->add_shape(4);
  EXPECT_TRUE(FromProto(message).ok());
  tensor->set_dtype(2);
  EXPECT_EQ(FromProto(message).status().message(), "tensor 'w': dtype 2, expected 0 or 1");
  tensor->set_dtype(0);
  tensor->set_shape(0, -4);
  EXPECT_FALSE(FromProto(message).ok());
  tensor->set_shape(0, int64_t{1} << 62);
  EXPECT_FALSE(FromProto(message).ok());
  tensor->set_shape(0, 4);
  tensor->set_parameter_group(~0u);
  EXPECT_FALSE(FromProto(message).ok());
}

TEST(ConvertTest, RefusesLayoutsOfTooManyEntriesInFewWords) {
  v1::Layout message;
  for (uint64_t i = 0; i <= kMaxTensors; ++i) message.add_tensors();
  EXPECT_THAT(std::string(FromProto(message).status().message()),
              HasSubstr("at most 65536 tensors and as many constants, got 65537 and 0"));
  message.clear_tensors();
  message.add_tensors()->set_name(std::string(1 << 20, 'n'));
  message.mutable_tensors(0)->set_dtype(2);
  EXPECT_LT(FromProto(message).status().message().size(), 400u);
}

TEST(ConvertTest, ContributionInfosRoundTrip) {
  const ContributionInfo info{Round(7), 32, 2.5f, {0.1f, 0.2f}, {0.01f, 0.0f}, 30};
  v1::ContributionInfo message;
  ToProto(info, &message);
  EXPECT_EQ(FromProto(message), info);
  message.clear_steps();  // of who does not know of them
  EXPECT_EQ(FromProto(message).steps, 1u);
}

TEST(ConvertTest, UpdateHeadersRoundTrip) {
  UpdateHeader header;
  header.sequence = Sequence(uint64_t{1} << 40);
  header.round = Round(9);
  header.bucket = BucketIndex(3);
  header.contributors = {{GroupId(1), Incarnation(2), 32, 1.5f}, {GroupId(8), Incarnation(1)}};
  header.scalars = {{0.1f, 0.999f}, {0.2f, 1.0f}};
  header.bias1 = 0.1f;
  header.bias2_sqrt = 0.03f;
  header.first = true;
  header.totals = {30, 4000};
  header.change = FormatChange{Round(9), RoundFormat{.chunk_size = 128,
                                                     .all = {1, ValueFormat::kOneBit},
                                                     .own = {{GroupId(3), {2, ValueFormat::kBf16}}},
                                                     .every = {.steps = 8},
                                                     .overlap = 3}};
  v1::Update message;
  message.set_payload("kept");
  ToProto(header, &message);
  EXPECT_EQ(message.payload(), "kept");
  const auto back = FromProto(message);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, header);
}

TEST(ConvertTest, P30_RefusesFormatsThatAreNone) {
  v1::Update message;
  ToProto(FormatChange{Round(9), {}}, message.mutable_change());
  message.mutable_change()->set_values("3bit");
  EXPECT_THAT(std::string(FromProto(message).status().message()), HasSubstr("values: expected"));
  google::protobuf::RepeatedPtrField<v1::FormatChange> changes;
  ToProto(FormatChange{Round(9), {}}, changes.Add());
  ToProto(FormatChange{Round(9), {}}, changes.Add());
  EXPECT_EQ(FromProto(changes).status().message(),
            "change of formats from round 9: expected after round 9");
}

}  // namespace
}  // namespace isthmus
