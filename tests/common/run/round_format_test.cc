#include "common/run/round_format.h"

#include <gtest/gtest.h>

#include <optional>
#include <tuple>
#include <utility>

#include "common/run/run_spec.h"

namespace isthmus {
namespace {

constexpr ValueFormat kValueFormats[] = {ValueFormat::kF32,    ValueFormat::kBf16,
                                         ValueFormat::kInt4,   ValueFormat::kTwoBit,
                                         ValueFormat::kOneBit, ValueFormat::kSign};

RunSpec LocalRun(SelectionKind selection, ValueFormat values) {
  RunSpec run = DefaultRunSpec(Scheme::kLocal);
  run.selection = selection;
  run.format.chunk_size = run.format.all.k = 128;
  if (selection != SelectionKind::kDense) run.format.all.k = 8;
  run.format.all.values = values;
  return run;
}

PayloadFormat FormatOf(const RunSpec& run, GroupId group = GroupId(1)) {
  return RoundFormats(run).FormatAt(Round(1), group);
}
UpdateFormat MergedOf(const RunSpec& run) { return RoundFormats(run).MergedAt(Round(1)); }

TEST(RoundFormatTest, P19_LocalStepsHaveAScalePerBlockWhereAllIsSentInValuesThatHaveOne) {
  for (ValueFormat values : kValueFormats) {
    if (values == ValueFormat::kSign) continue;
    const RunSpec run = LocalRun(SelectionKind::kDense, values);
    ASSERT_TRUE(Validate(run).ok()) << Validate(run);
    const bool few_bits = values != ValueFormat::kF32 && values != ValueFormat::kBf16;
    EXPECT_EQ(FormatOf(run),
              (PayloadFormat{Transform::kNone, 128, 128, values, Positions::kChosen, 0, few_bits}))
        << Name(values);
    EXPECT_EQ(MergedOf(run).contribution, FormatOf(run));
    EXPECT_EQ(MergedOf(run).merge, MergeRule::kMean);
    EXPECT_FALSE(MergedOf(run).sign);
    EXPECT_TRUE(MergedOf(run).uniform);
  }
}

TEST(RoundFormatTest, LocalStepsThatSelectAPartAreSentAsOtherSchemesAre) {
  const std::tuple<SelectionKind, Transform, Positions> selections[] = {
      {SelectionKind::kDct, Transform::kDct, Positions::kChosen},
      {SelectionKind::kTopK, Transform::kNone, Positions::kChosen},
      {SelectionKind::kRandom, Transform::kNone, Positions::kRandom},
      {SelectionKind::kStriding, Transform::kNone, Positions::kStriding},
      {SelectionKind::kSlicing, Transform::kNone, Positions::kSlicing}};
  for (const auto& [selection, transform, positions] : selections) {
    for (ValueFormat values : kValueFormats) {
      if (values == ValueFormat::kSign) continue;
      RunSpec run = LocalRun(selection, values);
      run.seed = 7;
      ASSERT_TRUE(Validate(run).ok()) << Validate(run);
      EXPECT_EQ(FormatOf(run), (PayloadFormat{transform, 128, 8, values, positions, 7, false}))
          << Name(selection) << ", " << Name(values);
      EXPECT_EQ(MergedOf(run).contribution, FormatOf(run));
      EXPECT_EQ(MergedOf(run).requantized, std::nullopt);
    }
  }
}

TEST(RoundFormatTest, P20_AnUpdateOfBlocksIsInFinerValues) {
  const std::pair<ValueFormat, std::optional<ValueFormat>> finer[] = {
      {ValueFormat::kF32, std::nullopt},
      {ValueFormat::kBf16, std::nullopt},
      {ValueFormat::kInt4, ValueFormat::kInt4},
      {ValueFormat::kTwoBit, ValueFormat::kInt4},
      {ValueFormat::kOneBit, ValueFormat::kTwoBit}};
  for (const auto& [values, expected] : finer) {
    EXPECT_EQ(MergedOf(LocalRun(SelectionKind::kDense, values)).requantized, expected)
        << Name(values);
  }
}

TEST(RoundFormatTest, EachGroupHasAScalePerBlockIfItsOwnValuesHaveOne) {
  RunSpec run = LocalRun(SelectionKind::kDense, ValueFormat::kTwoBit);
  run.format.own = {{GroupId(2), {128, ValueFormat::kBf16}},
                    {GroupId(3), {128, ValueFormat::kOneBit}}};
  ASSERT_TRUE(Validate(run).ok()) << Validate(run);
  EXPECT_TRUE(FormatOf(run).block_scales);
  EXPECT_FALSE(FormatOf(run, GroupId(2)).block_scales);
  EXPECT_EQ(FormatOf(run, GroupId(2)).values, ValueFormat::kBf16);
  EXPECT_TRUE(FormatOf(run, GroupId(3)).block_scales);
  EXPECT_FALSE(MergedOf(run).uniform);
  EXPECT_EQ(MergedOf(run).requantized, ValueFormat::kInt4);  // as most have it
  run.format.all.values = ValueFormat::kF32;
  EXPECT_EQ(MergedOf(run).requantized, std::nullopt);
  EXPECT_FALSE(MergedOf(run).contribution.block_scales);
  EXPECT_TRUE(FormatOf(run, GroupId(3)).block_scales);
}

TEST(RoundFormatTest, OtherSchemesHaveNoScalePerBlock) {
  for (Scheme scheme : {Scheme::kFlexDemo, Scheme::kFull, Scheme::kRandom, Scheme::kStriding,
                        Scheme::kSlicing, Scheme::kNone}) {
    for (ValueFormat values : kValueFormats) {
      RunSpec run = DefaultRunSpec(scheme);
      run.format.all.values = values;
      if (!Validate(run).ok()) continue;
      EXPECT_FALSE(FormatOf(run).block_scales) << Name(scheme);
      EXPECT_FALSE(MergedOf(run).contribution.block_scales);
      EXPECT_EQ(MergedOf(run).requantized, std::nullopt);
    }
  }
  RunSpec all = DefaultRunSpec(Scheme::kFlexDemo);  // k = chunk_size
  all.format.all = {64, ValueFormat::kOneBit};
  ASSERT_TRUE(Validate(all).ok()) << Validate(all);
  EXPECT_FALSE(FormatOf(all).block_scales);
}

}  // namespace
}  // namespace isthmus
