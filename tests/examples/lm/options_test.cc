#include "examples/lm/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace isthmus::lm {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class LmOptionsTest : public ::testing::Test {
 protected:
  ParsedOptions Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "isthmus-lm");
    arguments.insert(arguments.end(), {"--text", "book.txt"});
    errors_.str("");
    return ParseOptions(static_cast<int>(arguments.size()), arguments.data(), out_, errors_);
  }

  std::ostringstream out_;
  std::ostringstream errors_;
};

TEST_F(LmOptionsTest, WhatIsGivenIsTaken) {
  const ParsedOptions parsed = Parse(
      {"--width",          "256",  "--heads",       "8",    "--seed",       "18446744073709551615",
       "--batch",          "4096", "--lr",          "1e-3", "--final-lr",   "1",
       "--clip",           "0",    "--warmup",      "0",    "--local-rank", "0",
       "--attach-timeout", "0.5",  "--temperature", "0",    "--sample",     "1048576"});
  ASSERT_TRUE(parsed.options.has_value()) << errors_.str();
  const TrainerOptions& trainer = parsed.options->trainer;
  EXPECT_EQ(trainer.model.width, 256);
  EXPECT_EQ(trainer.model.heads, 8);
  EXPECT_EQ(trainer.seed, UINT64_MAX);
  EXPECT_EQ(trainer.batch, 4096);
  EXPECT_EQ(trainer.schedule.peak, 1e-3);
  EXPECT_EQ(trainer.schedule.final_fraction, 1);
  EXPECT_EQ(trainer.schedule.warmup, 0u);
  EXPECT_EQ(trainer.clip, 0);
  EXPECT_EQ(parsed.options->isthmus.local_rank, 0);
  EXPECT_EQ(parsed.options->isthmus.attach_timeout_seconds, 0.5);
  EXPECT_EQ(parsed.options->sample.temperature, 0);
  EXPECT_EQ(parsed.options->sample.bytes, 1 << 20);
}

TEST_F(LmOptionsTest, AnOptimizerOfTheJobsOwnIsAskedForByName) {
  EXPECT_EQ(Parse({}).options->own_optimizer, "") << "the daemon's steps";
  EXPECT_EQ(Parse({"--own-optimizer", "adamw"}).options->own_optimizer, "adamw");
  const ParsedOptions muon = Parse({"--own-optimizer", "muon", "--muon-lr", "0.02"});
  ASSERT_TRUE(muon.options.has_value()) << errors_.str();
  EXPECT_EQ(muon.options->own_optimizer, "muon");
  EXPECT_EQ(muon.options->muon_lr, 0.02);
  for (const char* name : {"nope", "Muon", ""}) {
    const ParsedOptions parsed = Parse({"--own-optimizer", name});
    EXPECT_FALSE(parsed.options.has_value()) << name;
    EXPECT_EQ(parsed.exit_code, kExitUsage) << name;
    EXPECT_THAT(errors_.str(), HasSubstr("--own-optimizer: ")) << name;
  }
}

// Muon's rate follows --lr, by MuonOptions' ratio, until it is given.
TEST_F(LmOptionsTest, MuonsLearningRateIsTwiceAdamWsUnlessGiven) {
  EXPECT_EQ(Parse({"--own-optimizer", "muon", "--lr", "0.01"}).options->muon_lr, std::nullopt);
  EXPECT_EQ(MuonOptions().lr_to_adamw, 2.0);
  Parse({"--help"});
  EXPECT_THAT(out_.str(), ContainsRegex("--muon-lr [^-]*twice --lr"));
}

TEST_F(LmOptionsTest, HelpIsNoFailure) {
  EXPECT_EQ(Parse({"--help"}).exit_code, kExitDone);
  EXPECT_THAT(out_.str(), HasSubstr("Exit codes:"));
}

TEST_F(LmOptionsTest, NumbersThatCannotBeAreRefused) {
  struct Case {
    const char* flag;
    const char* value;
    const char* expected;
  };
  const Case cases[] = {
      {"--width", "0", "a whole number from 1 to 8192"},
      {"--width", "-128", "a whole number from 1 to 8192"},
      {"--width", "8193", "a whole number from 1 to 8192"},
      {"--layers", "0", "a whole number from 1 to 256"},
      {"--heads", "x", "a whole number from 1 to 256"},
      {"--context", "64.5", "a whole number from 1 to 8192"},
      {"--context", "010", "a whole number from 1 to 8192"},
      {"--steps", "-1", "a whole number from 0 to 1000000000000"},
      {"--steps", "18446744073709551615", "a whole number from 0 to"},
      {"--steps", "99999999999999999999", "a whole number from 0 to"},
      {"--batch", "0", "a whole number from 1 to 4096"},
      {"--seed", "-1", "a whole number from 0 to 18446744073709551615"},
      {"--seed", "", "a whole number from 0 to 18446744073709551615"},
      {"--init-deviation", "nan", "a number above 0, at most 1000"},
      {"--lr", "0", "a number above 0, at most 1000"},
      {"--lr", "-0.1", "a number above 0, at most 1000"},
      {"--lr", "inf", "a number above 0, at most 1000"},
      {"--warmup", "-1", "a whole number from 0 to"},
      {"--final-lr", "1.1", "a number from 0 to 1"},
      {"--final-lr", "nan", "a number from 0 to 1"},
      {"--weight-decay", "-1", "a number from 0 to 1000"},
      {"--clip", "much", "a number from 0 to 1e+09"},
      {"--local-rank", "-1", "a whole number from 0 to 2147483647"},
      {"--local-rank", "2147483648", "a whole number from 0 to 2147483647"},
      {"--attach-timeout", "-1", "a number from 0 to 1e+09"},
      {"--attach-timeout", "inf", "a number from 0 to 1e+09"},
      {"--muon-lr", "0", "a number above 0, at most 1000"},
      {"--muon-lr", "nan", "a number above 0, at most 1000"},
      {"--reattach", "-1", "a whole number from 0 to 2147483647"},
      {"--log-every", "-1", "a whole number from 0 to"},
      {"--validate-every", "-1", "a whole number from 0 to"},
      {"--sample", "1048577", "a whole number from 0 to 1048576"},
      {"--temperature", "nan", "a number from 0 to 1000"},
  };
  for (const Case& c : cases) {
    const ParsedOptions parsed = Parse({c.flag, c.value});
    EXPECT_FALSE(parsed.options.has_value()) << c.flag << " " << c.value;
    EXPECT_EQ(parsed.exit_code, kExitUsage) << c.flag << " " << c.value;
    EXPECT_THAT(errors_.str(), HasSubstr(std::string(c.flag) + ": expected " + c.expected));
    EXPECT_THAT(errors_.str(), HasSubstr(std::string("got '") + c.value + "'"));
  }
}

TEST_F(LmOptionsTest, FlagsThatDoNotGoTogetherAreRefused) {
  struct Case {
    std::vector<const char*> arguments;
    const char* words;
  };
  const Case cases[] = {
      {{"--local"}, "--local needs --steps"},
      {{"--load", "model"}, "--load needs --sample"},
      {{"--text", "t", "--prompt", "once"}, "--prompt requires --sample"},
      {{"--heads", "3"}, "model width is 128, expected a multiple of its 3 heads"},
      {{"surplus"}, "surplus"},
      {{"--no-such-flag"}, "no-such-flag"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Parse(c.arguments).exit_code, kExitUsage) << c.words;
    EXPECT_THAT(errors_.str(), HasSubstr(c.words));
  }
}

}  // namespace
}  // namespace isthmus::lm
