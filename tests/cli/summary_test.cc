#include "cli/rehearse/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

RehearseOptions Options() {
  RehearseFlags flags;
  flags.text = "book.txt";
  flags.ranks = "1,2";
  return ParseRehearseFlags(flags).value();
}

DeploymentResult Result(double step_seconds) {
  DeploymentResult result;
  result.view.parameters = 1'000'000;
  result.view.rounds_committed = 300;
  result.view.samples_per_second = 500;
  for (const uint32_t id : {1, 2}) {
    result.view.groups.push_back({.group_id = id, .hash_round = 300, .state_hash = 0xabcdef});
    JobReport report;
    report.tokens_per_step = 1000;
    report.validation_loss = 2.5;
    report.validation_curve = {{100, 3.0 + id}, {200, 2.0 + id}};
    report.unigram_entropy = 3.25;
    report.step_seconds = step_seconds + 0.01 * id;
    report.compute_seconds = 0.1;
    report.communication_ratio = 0.1 * id;
    report.sample = "It was\nthe \x1b[31mbest \xc3\xa9\xff";
    result.reports.push_back(report);
  }
  result.counters_start = {{1000, 2000}, {0, 0}};
  result.counters_end = {{2'990'000 + 1000, 299'000 + 2000}, {299, 598}};
  result.counted_rounds = 299;
  result.counted_seconds = 100;
  return result;
}

TEST(SummaryTest, TakesTheSlowestSiteAndTheMeanRatio) {
  const Summary summary = Summarize(Options(), Result(0.18), nullptr);
  EXPECT_DOUBLE_EQ(summary.step_seconds, 0.20);
  EXPECT_DOUBLE_EQ(summary.compute_seconds, 0.1);
  EXPECT_DOUBLE_EQ(summary.communication_ratio, 0.15);
  EXPECT_FALSE(summary.full_step_seconds.has_value());
  EXPECT_FALSE(summary.exchange_speedup.has_value());
}

TEST(SummaryTest, ComparesTheExchangeAlone) {
  const DeploymentResult full = Result(1.08);
  const Summary summary = Summarize(Options(), Result(0.18), &full);
  EXPECT_DOUBLE_EQ(*summary.full_step_seconds, 1.10);
  EXPECT_DOUBLE_EQ(*summary.exchange_speedup, 10);  // (1.10 - 0.1) / (0.20 - 0.1)
}

TEST(SummaryTest, CountsBytesOfTheTrainingRoundsOnly) {
  const Summary summary = Summarize(Options(), Result(0.18), nullptr);
  EXPECT_THAT(summary.bytes_up_per_step, ElementsAre(10'000, 1));
  EXPECT_THAT(summary.bytes_down_per_step, ElementsAre(1'000, 2));
  EXPECT_EQ(summary.dense_float32_bytes, 4'000'000u);
  // One rank at one site and two at the other, 1000 tokens each.
  EXPECT_DOUBLE_EQ(summary.tokens_per_second, 3000.0 * 299 / 100);
}

TEST(SummaryTest, P22HashesMustBeOfTheLastRoundAndEqual) {
  EXPECT_TRUE(Summarize(Options(), Result(0.1), nullptr).hashes_equal);
  DeploymentResult differ = Result(0.1);
  differ.view.groups[1].state_hash = 1;
  EXPECT_FALSE(Summarize(Options(), differ, nullptr).hashes_equal);
  DeploymentResult early = Result(0.1);
  for (GroupView& group : early.view.groups) group.hash_round = 299;
  const Summary summary = Summarize(Options(), early, nullptr);
  EXPECT_FALSE(summary.hashes_equal);
  EXPECT_THAT(summary.hashes, ElementsAre("", ""));
  DeploymentResult missing = Result(0.1);
  missing.view.groups.pop_back();
  EXPECT_FALSE(Summarize(Options(), missing, nullptr).hashes_equal);
}

TEST(SummaryTest, WhereSitesStepAsTheyCanFiguresArePerStepOfEach) {
  RehearseOptions options = Options();
  options.run.format.every = {.steps = 0, .samples = 4096};
  DeploymentResult result = Result(0.1);
  result.reports[0]->steps = 300 * 6;
  result.reports[1]->steps = 300 * 2;
  const Summary summary = Summarize(options, result, nullptr);
  EXPECT_EQ(summary.every, "4096 samples");
  EXPECT_EQ(summary.steps, 0u);
  EXPECT_THAT(summary.steps_per_round, ElementsAre(6, 2));
  EXPECT_THAT(summary.bytes_up_per_step, ElementsAre(10'000 / 6.0, 1 / 2.0));
  // One rank at one site and two at the other, 1000 tokens each.
  EXPECT_DOUBLE_EQ(summary.tokens_per_second, (6000.0 + 2 * 2000) * 299 / 100);
}

TEST(SummaryTest, SchemeNoneMayEndWithStatesOfItsOwn) {
  RehearseOptions options = Options();
  options.run.scheme = Scheme::kNone;
  DeploymentResult differ = Result(0.1);
  differ.view.groups[1].state_hash = 1;
  EXPECT_FALSE(Summarize(Options(), differ, nullptr).replicas_part);
  const Summary summary = Summarize(options, differ, nullptr);
  EXPECT_TRUE(summary.replicas_part);
  EXPECT_THAT(SummaryText(summary), HasSubstr("apart, as scheme none trains them"));
  differ.view.groups.pop_back();
  EXPECT_FALSE(Summarize(options, differ, nullptr).replicas_part);
}

TEST(SummaryTest, FallsBackToHeartbeatsForJobsWithoutAReport) {
  DeploymentResult result = Result(0.1);
  result.reports = {std::nullopt, std::nullopt};
  result.view.groups[0].step_seconds = 0.5;
  result.view.groups[1].step_seconds = 0.7;
  result.view.loss = 2.75;
  result.view.samples_per_second = 31;
  const Summary summary = Summarize(Options(), result, nullptr);
  EXPECT_DOUBLE_EQ(summary.step_seconds, 0.7);
  EXPECT_FALSE(summary.validation_loss.has_value());
  EXPECT_EQ(summary.parameters, 1'000'000u);
  EXPECT_THAT(SummaryText(summary), HasSubstr("2.7500 in the last round"));
  EXPECT_THAT(SummaryText(summary), HasSubstr("31 samples/s"));
  result.view.loss = std::nan("");
  const Summary silent = Summarize(Options(), result, nullptr);
  EXPECT_THAT(SummaryText(silent), HasSubstr("not reported by the job"));
  EXPECT_TRUE(nlohmann::json::parse(SummaryJson(silent))["loss"].is_null());
}

TEST(SummaryTest, JsonHasTheAgreedKeys) {
  const DeploymentResult full = Result(1.08);
  const auto json = nlohmann::json::parse(SummaryJson(Summarize(Options(), Result(0.18), &full)));
  for (const char* key : {"parameters",
                          "steps",
                          "sites",
                          "ranks",
                          "links",
                          "scheme",
                          "chunk",
                          "k",
                          "values",
                          "every",
                          "steps_per_round",
                          "own_optimizer",
                          "seed",
                          "loss",
                          "validation_loss",
                          "validation_curve",
                          "unigram_entropy",
                          "hashes_equal",
                          "hashes",
                          "step_seconds",
                          "compute_seconds",
                          "full_step_seconds",
                          "exchange_speedup",
                          "communication_ratio",
                          "bytes_up_per_step",
                          "bytes_down_per_step",
                          "dense_float32_bytes",
                          "rounds_committed",
                          "contributions_late",
                          "contributions_rejected",
                          "abstentions",
                          "audits",
                          "audit_mismatches",
                          "tokens_per_second",
                          "samples_per_second",
                          "elapsed_seconds",
                          "sample"}) {
    EXPECT_TRUE(json.contains(key)) << key;
    EXPECT_FALSE(json[key].is_null()) << key;
  }
  EXPECT_EQ(json["hashes"][0], "0000000000abcdef");
  EXPECT_EQ(json["sites"], 2);
  EXPECT_EQ(json["links"][1], "10mbit/40ms");
}

TEST(SummaryTest, TheFirstSitesCurveSpeaksForAll) {
  const auto json = nlohmann::json::parse(SummaryJson(Summarize(Options(), Result(0.1), nullptr)));
  EXPECT_EQ(json["validation_curve"], nlohmann::json::parse(R"([{"step": 100, "loss": 4.0},
                                                                {"step": 200, "loss": 3.0}])"));
}

TEST(SummaryTest, JsonSaysNullForWhatWasNotMeasured) {
  const auto json = nlohmann::json::parse(SummaryJson(Summarize(Options(), Result(0.1), nullptr)));
  EXPECT_TRUE(json["full_step_seconds"].is_null());
}

TEST(SummaryTest, TextTellsPeople) {
  const DeploymentResult full = Result(1.08);
  const std::string text = SummaryText(Summarize(Options(), Result(0.18), &full));
  EXPECT_THAT(text, HasSubstr("2.5000 nats (guessing by letter frequency: 3.2500)"));
  EXPECT_THAT(text, HasSubstr("bit-identical (0000000000abcdef at every site)"));
  EXPECT_THAT(text, HasSubstr("10.0 kB up (float32 400.0x, bf16 200.0x)"));
  EXPECT_THAT(text, HasSubstr("its exchange takes 10.0 times as long"));
  // Control characters of the sample do not reach the terminal; UTF-8 does.
  EXPECT_THAT(text, HasSubstr("  | It was\n  | the ?[31mbest \xc3\xa9"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace isthmus
