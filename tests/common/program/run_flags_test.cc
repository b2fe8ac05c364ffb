#include "common/program/run_flags.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "common/run/spec_fields.h"

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string FlagOf(const SpecField& field) {
  return absl::StrCat("--", absl::StrReplaceAll(field.name, {{"_", "-"}}));
}

// What a program that takes the flags was given.
class RunFlagsTest : public ::testing::Test {
 protected:
  void Parse(std::vector<std::string> arguments, bool last_wins = false) {
    CLI::App app;
    given_.clear();
    if (last_wins) app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    AddRunFlags(&app, &given_);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    app.parse(arguments);
  }

  GivenFields given_;
};

// No field has a scheme's default, apart from those of local steps.
RunSpec Unusual() {
  RunSpec spec;
  spec.scheme = Scheme::kRandom;
  spec.format.chunk_size = 128;
  spec.format.all = {.k = 4, .values = ValueFormat::kInt4};
  spec.format.own = {{GroupId(3), {.k = 1, .values = ValueFormat::kOneBit}}};
  spec.decay = 0.5f;
  spec.alpha = 0.25f;
  spec.lr_in_momentum = true;
  spec.sign = false;
  spec.merge = MergeRule::kSum;
  spec.optimizer = {.kind = OptimizerKind::kAdamW,
                    .momentum = 0.5f,
                    .beta1 = 0.8f,
                    .beta2 = 0.99f,
                    .epsilon = 1e-6f};
  spec.bucket_length = 1 << 20;
  spec.rounds = 7;
  spec.start_groups = 3;
  spec.min_groups = 2;
  spec.initial_donor = GroupId(0);
  spec.seed = 5;
  spec.audit_rounds = 9;
  return spec;
}

// None of local steps has.
RunSpec UnusualLocal() {
  RunSpec spec = DefaultRunSpec(Scheme::kLocal);
  spec.format.every = {.steps = 30};
  spec.format.overlap = 4;
  spec.selection = SelectionKind::kTopK;
  spec.outer_lr = 0.7f;
  spec.format.all.k = 3;
  return spec;
}

TEST_F(RunFlagsTest, WhatTheySayIsReadBack) {
  const RunSpec all_unusual[] = {Unusual(), UnusualLocal()};
  for (const SpecField& field : SpecFields()) {
    if (field.name == std::string("scheme")) continue;
    ASSERT_TRUE(std::ranges::any_of(all_unusual,
                                    [&](const RunSpec& spec) {
                                      return field.text(spec) !=
                                             field.text(DefaultRunSpec(spec.scheme));
                                    }))
        << field.name << ": add it to Unusual()";
  }
  for (const RunSpec& unusual : all_unusual) {
    Parse(RunFlags(unusual));
    EXPECT_EQ(RunSpecOf(given_).value(), unusual);
  }
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kFull, Scheme::kRandom, Scheme::kStriding,
                              Scheme::kSlicing, Scheme::kNone, Scheme::kLocal}) {
    EXPECT_THAT(RunFlags(DefaultRunSpec(scheme)), ElementsAre("--scheme", Name(scheme)));
    Parse({"--scheme", Name(scheme)});
    EXPECT_EQ(RunSpecOf(given_).value(), DefaultRunSpec(scheme));
  }
}

TEST_F(RunFlagsTest, LocalStepsSendWholeChunksOfAnySizeUnlessTheySelectAPart) {
  Parse({"--scheme", "local", "--chunk-size", "256"});
  EXPECT_EQ(RunSpecOf(given_)->format.all.k, 256u);
  Parse({"--scheme", "local", "--chunk-size", "256", "--selection", "top-k"});
  EXPECT_EQ(RunSpecOf(given_)->format.all.k, 64u);
  RunSpec part = UnusualLocal();  // whose k is the default
  part.format.chunk_size = 256;
  part.format.all.k = 64;
  Parse(RunFlags(part));
  EXPECT_EQ(*RunSpecOf(given_), part);
  Parse({"--scheme", "local", "--selection", "top-k"});
  EXPECT_THAT(std::string(RunSpecOf(given_).status().message()),
              HasSubstr("k: expected below chunk_size 64"));
}

TEST_F(RunFlagsTest, HelpSaysWhatASwitchAndItsOppositeDo) {
  CLI::App app;
  AddRunFlags(&app, &given_);
  const std::string help = app.help();
  EXPECT_THAT(help, HasSubstr("Step by the sign of the merged direction (default)\n"));
  EXPECT_THAT(help, HasSubstr("Step by the merged direction itself\n"));
  EXPECT_THAT(help, HasSubstr("Take gradients into the momentum as they are (default)\n"));
}

TEST_F(RunFlagsTest, AProgramMayDecideFieldsItself) {
  for (const SpecField& except : SpecFields()) {
    CLI::App app;
    const std::string_view names[] = {except.name};
    AddRunFlags(&app, &given_, names);
    for (const SpecField& field : SpecFields()) {
      EXPECT_EQ(app.get_option_no_throw(FlagOf(field)) != nullptr, field.name != except.name)
          << FlagOf(field) << " without " << except.name;
    }
  }
}

TEST_F(RunFlagsTest, OppositesExcludeEachOtherUnlessTheLastWins) {
  EXPECT_THROW(Parse({"--sign", "--no-sign"}), CLI::ExcludesError);
  Parse({"--sign", "--no-sign", "--k", "3", "--k", "5"}, true);
  EXPECT_THAT(given_, ElementsAre(Pair("k", "5"), Pair("sign", "false")));
  Parse({"--no-sign", "--sign"}, true);
  EXPECT_THAT(given_, ElementsAre(Pair("sign", "true")));
  Parse({"--sign", "--no-sign", "--sign"}, true);
  EXPECT_THAT(given_, ElementsAre(Pair("sign", "true")));
}

}  // namespace
}  // namespace isthmus
