#include "cli/plan/plan_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/base/exit_codes.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

std::string Refused(const PlanFlags& flags) {
  const auto options = ParsePlanFlags(flags);
  return options.ok() ? "" : std::string(options.status().message());
}

TEST(PlanFlagsTest, SizesAreReadAsPeopleSayThem) {
  for (const auto& [text, parameters] :
       {std::pair("1032576", 1'032'576), std::pair("124M", 124'000'000),
        std::pair("124m", 124'000'000), std::pair("1.3B", 1'300'000'000),
        std::pair("64k", 64'000)}) {
    const auto options = ParsePlanFlags({.parameters = text, .step = "1s"});
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->parameters, static_cast<uint64_t>(parameters)) << text;
  }
}

TEST(PlanFlagsTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(Refused({.parameters = "0", .step = "1s"}), HasSubstr("--params: expected"));
  EXPECT_THAT(Refused({.parameters = "nan", .step = "1s"}), HasSubstr("--params: expected"));
  EXPECT_THAT(Refused({.parameters = "M", .step = "1s"}), HasSubstr("got 'M'"));
  EXPECT_THAT(Refused({.parameters = "", .step = "1s"}), HasSubstr("--params: expected"));
  EXPECT_THAT(Refused({.parameters = "1M", .step = "0.5"}), HasSubstr("--step-time: expected"));
  EXPECT_THAT(Refused({.parameters = "1M", .step = "-1s"}), HasSubstr("got '-1s'"));
  EXPECT_THAT(Refused({.parameters = "1M", .step = "inf"}), HasSubstr("--step-time: expected"));
  EXPECT_THAT(Refused({.parameters = "1M", .step = "1s", .links = "fast"}),
              HasSubstr("--link: expected"));
  EXPECT_THAT(Refused({.parameters = "1M", .step = "1s", .links = "1mbit,2mbit", .sites = 3}),
              HasSubstr("--link: expected one, or one for each of 3 sites"));
  EXPECT_THAT(Refused({.parameters = "1M", .step = "1s", .links = "1mbit,2mbit,3mbit", .sites = 2}),
              HasSubstr("--link: expected one, or one for each of 2 sites"));
  EXPECT_EQ(ParsePlanFlags({.parameters = "1M", .step = "1s"})->sites.size(), 2u);
}

TEST(PlanFlagsTest, AFileSaysWhatAModelLearnsWithWhichSetting) {
  const std::string path = testing::TempDir() + "plan_schemes";
  std::ofstream(path) << "1.3 flexdemo k=1\n1.2 flexdemo k=4\n";
  const PlanFlags flags{.parameters = "1M", .step = "1s", .schemes = path};
  const auto options = ParsePlanFlags(flags);
  ASSERT_TRUE(options.ok()) << options.status();
  const std::vector<PlannedScheme> schemes = PlanSchemes(*options);
  ASSERT_EQ(schemes.size(), 2u);
  const std::vector<PacedScheme> paced = PaceSchemes(*options, schemes[0]);
  ASSERT_EQ(paced.size(), 1u) << "nothing is known of local steps";
  EXPECT_EQ(paced[0].run.scheme, Scheme::kFlexDemo);
  std::ofstream(path) << "1.3 flexdemo k=none\n";
  EXPECT_THAT(Refused(flags), HasSubstr(path + ": line 1: k: expected"));
  std::remove(path.c_str());
  EXPECT_THAT(Refused(flags), HasSubstr("--schemes: expected a file of lines"));
}

TEST(PlanFlagsTest, OneLinkIsThatOfAllSites) {
  const auto options =
      ParsePlanFlags({.parameters = "1M", .step = "1s", .links = "8mbit:80mbit/20ms", .sites = 3});
  ASSERT_TRUE(options.ok());
  ASSERT_EQ(options->sites.size(), 3u);
  EXPECT_EQ(options->sites[2].up, 1e6);
  EXPECT_EQ(options->sites[2].down, 1e7);
  EXPECT_EQ(options->sites[2].round_trip, absl::Milliseconds(40));
  EXPECT_EQ(
      ParsePlanFlags({.parameters = "1M", .step = "1s", .links = "1mbit,2mbit,none"})->sites.size(),
      3u);
}

std::string Best(const char* link, const char* parameters) {
  std::ostringstream out, errors;
  EXPECT_EQ(RunPlan({.parameters = parameters, .step = "200ms", .links = link, .json = true}, out,
                    errors),
            kExitOk);
  return nlohmann::json::parse(out.str())["schemes"][0]["flags"];
}

TEST(PlanTest, TheThinnerTheLinkTheSeldomerAnExchange) {
  EXPECT_THAT(Best("1mbit/20ms", "1M"), HasSubstr("--every '30 steps'"));
  EXPECT_THAT(Best("1gbit/1ms", "1M"), HasSubstr("--every '4 steps'"));
}

TEST(PlanTest, JsonHasWhatTheTableHas) {
  std::ostringstream out, errors, table;
  const PlanFlags flags{.parameters = "124M", .step = "0.5s", .links = "100mbit/20ms", .sites = 4};
  PlanFlags json = flags;
  json.json = true;
  EXPECT_EQ(RunPlan(json, out, errors), kExitOk);
  EXPECT_EQ(RunPlan(flags, table, errors), kExitOk);
  const auto said = nlohmann::json::parse(out.str());
  EXPECT_EQ(said["sites"], 4);
  double before = 0;
  for (const auto& scheme : said["schemes"]) {
    EXPECT_THAT(table.str(), HasSubstr(scheme["scheme"].get<std::string>()));
    EXPECT_GE(scheme["relative_time"].get<double>(), before);
    before = scheme["relative_time"];
  }
  EXPECT_EQ(said["schemes"][0]["relative_time"], 1.0);
  EXPECT_THAT(table.str(),
              HasSubstr("isthmus-coordinator " + said["schemes"][0]["flags"].get<std::string>()));
}

TEST(PlanTest, SaysWhatAPaceWouldSettleOn) {
  for (const auto& [link, met] : {std::pair("1gbit/10ms", true), std::pair("1mbit/10ms", false)}) {
    SCOPED_TRACE(link);
    PlanFlags flags{.parameters = "124M", .step = "0.5s", .links = link, .target = 0.08};
    std::ostringstream table, out, errors;
    EXPECT_EQ(RunPlan(flags, table, errors), kExitOk);
    flags.json = true;
    EXPECT_EQ(RunPlan(flags, out, errors), kExitOk);
    const auto said = nlohmann::json::parse(out.str());
    EXPECT_EQ(said["target_communication_ratio"], 0.08);
    ASSERT_EQ(said["paced"].size(), 2u);
    for (const auto& paced : said["paced"]) {
      EXPECT_THAT(table.str(), HasSubstr(paced["setting"].get<std::string>()));
      EXPECT_GE(paced["relative_time"].get<double>(), 0.9);
    }
    const auto& local = said["paced"][1];
    EXPECT_EQ(local["scheme"], "local");
    EXPECT_EQ(local["target_met"], met);
    EXPECT_EQ(local["communication_ratio"].get<double>() <= 0.08, met);
    EXPECT_EQ(local["setting"], met ? "every 8 steps" : "every 30 steps");
    EXPECT_EQ(said["paced"][0]["setting"], met ? "1 of 128" : "1 of 256");
    EXPECT_EQ(said["paced"][0]["target_met"], met);
    EXPECT_EQ(table.str().find("no setting is within it") == std::string::npos, met);
    EXPECT_THAT(table.str(), HasSubstr("within a communication ratio of 8.0 %"));
  }
}

TEST(PlanTest, AWrongFlagIsAUsageError) {
  std::ostringstream out, errors;
  EXPECT_EQ(RunPlan({.parameters = "many", .step = "1s"}, out, errors), kExitUsage);
  EXPECT_THAT(errors.str(), HasSubstr("isthmus plan: --params"));
}

}  // namespace
}  // namespace isthmus
