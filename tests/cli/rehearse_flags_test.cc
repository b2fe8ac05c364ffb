// The command line of `isthmus rehearse`, as far as its coordinator's.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "cli/rehearse/flags.h"
#include "cli/rehearse/plan.h"
#include "common/run/spec_fields.h"

namespace isthmus {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// The coordinator's command line.
std::vector<std::string> Coordinator(std::vector<std::string> arguments) {
  CLI::App app;
  RehearseFlags flags;
  AddRehearseFlags(&app, &flags);
  arguments.insert(arguments.end(), {"--text", "book.txt"});
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app.parse(arguments);
  return Plan::Main(ParseRehearseFlags(flags).value(), {}).Coordinator().argv;
}

TEST(RehearseFlagsTest, EveryFieldOfARunHasAFlagUnlessDecidedOtherwise) {
  CLI::App app;
  RehearseFlags flags;
  AddRehearseFlags(&app, &flags);
  for (const SpecField& field : SpecFields()) {
    if (std::ranges::count(kDecidedFields, std::string_view(field.name)) != 0) continue;
    const std::string flag = absl::StrCat("--", absl::StrReplaceAll(field.name, {{"_", "-"}}));
    const CLI::Option* const option = app.get_option_no_throw(flag);
    ASSERT_NE(option, nullptr) << flag;
    EXPECT_THAT(option->get_description(), HasSubstr(field.help));
  }
}

TEST(RehearseFlagsTest, TheCoordinatorRunsWhatWasAskedFor) {
  const std::vector<std::string> argv =
      Coordinator({"--steps", "7", "--sites", "3", "--merge", "sum", "--no-sign", "--seed", "5"});
  EXPECT_THAT(absl::StrJoin(argv, " "),
              HasSubstr("--scheme flexdemo --no-sign --merge sum --rounds 7 --start-groups 3"));
  EXPECT_THAT(argv, Not(Contains("--seed")));  // the jobs' alone
}

TEST(RehearseFlagsTest, AScriptsFlagsCanBeOverridden) {
  const std::vector<std::string> argv =
      Coordinator({"--k", "4", "--no-sign", "--k", "8", "--sign"});
  EXPECT_THAT(absl::StrJoin(argv, " "), HasSubstr("--k 8"));
  EXPECT_THAT(argv, Not(Contains("--no-sign")));
}

TEST(RehearseFlagsTest, WhatTheCoordinatorWouldRefuseIsRefused) {
  const std::vector<std::vector<std::string>> cases = {
      {"--k", "0"}, {"--decay", "nan"}, {"--scheme", "best"}, {"--audit-rounds", "-1"}};
  for (const std::vector<std::string>& arguments : cases) {
    EXPECT_THROW(Coordinator(arguments), CLI::ValidationError) << arguments[0];
  }
}

}  // namespace
}  // namespace isthmus
