#include "cli/rehearse/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace isthmus {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::Pair;

RehearseOptions Options(RehearseFlags flags = {}) {
  flags.text = "book.txt";
  flags.ranks = "1,2";
  flags.faults = {"kill:1@5"};
  return ParseRehearseFlags(flags).value();
}

Places ExamplePlaces() { return {.bin_dir = "/bin", .run_dir = "/run", .log_dir = "/log"}; }

// The argument after `flag`.
std::string ValueOf(const Command& command, const std::string& flag) {
  const auto it = std::find(command.argv.begin(), command.argv.end(), flag);
  return it == command.argv.end() || it + 1 == command.argv.end() ? "" : *(it + 1);
}

TEST(PlanTest, TheCoordinatorGetsTheRunSpec) {
  RehearseFlags flags;
  flags.deadline = "60s";
  const Command command = Plan::Main(Options(flags), ExamplePlaces()).Coordinator();
  EXPECT_THAT(command.argv,
              ElementsAre("/bin/isthmus-coordinator", "--listen", "127.0.0.1:0", "--port-file",
                          "/run/coordinator.port", "--deadline", "1m", "--scheme", "flexdemo",
                          "--rounds", "300", "--start-groups", "2"));
  EXPECT_EQ(command.log_path, "/log/coordinator.log");
}

TEST(PlanTest, SignAndDeadlineAreStated) {
  RehearseFlags flags;
  flags.run["sign"] = "false";
  const Command command = Plan::Main(Options(flags), ExamplePlaces()).Coordinator();
  EXPECT_THAT(command.argv, Contains("--no-sign"));
  EXPECT_EQ(ValueOf(command, "--deadline"), "off");
}

TEST(PlanTest, ThePaceIsTheCoordinatorsAndNotTheComparisons) {
  RehearseFlags flags;
  flags.pace = "0.05";
  EXPECT_EQ(ValueOf(Plan::Main(Options(flags), ExamplePlaces()).Coordinator(), "--pace"), "0.05");
  EXPECT_EQ(ValueOf(Plan::Comparison(Options(flags), ExamplePlaces()).Coordinator(), "--pace"), "");
}

TEST(PlanTest, ASchedulesFileIsTheCoordinatorsAndNotTheComparisons) {
  RehearseFlags flags;
  flags.schedule = "night.txt";
  EXPECT_EQ(ValueOf(Plan::Main(Options(flags), ExamplePlaces()).Coordinator(), "--schedule"),
            "night.txt");
  EXPECT_EQ(ValueOf(Plan::Comparison(Options(flags), ExamplePlaces()).Coordinator(), "--schedule"),
            "");
}

TEST(PlanTest, AWorkerDialsItsLink) {
  const Command command = Plan::Main(Options(), ExamplePlaces()).Worker(2, "127.0.0.1:4711");
  EXPECT_EQ(command.name, "worker-2");
  EXPECT_THAT(command.argv, ElementsAre("/bin/isthmus-worker", "--coordinator", "127.0.0.1:4711",
                                        "--group", "2", "--label", "site-2", "--ranks", "cpu:2",
                                        "--socket", "/run/worker-2.sock"));
  EXPECT_THAT(command.environment, ElementsAre(Pair("ISTHMUS_SIMD", "")));
}

TEST(PlanTest, AWorkerIsToldWhichInstructionsToUse) {
  RehearseFlags flags;
  flags.simd = "scalar,avx2";
  const Plan plan = Plan::Main(Options(flags), ExamplePlaces());
  EXPECT_THAT(plan.Worker(1, "address").environment, ElementsAre(Pair("ISTHMUS_SIMD", "scalar")));
  EXPECT_THAT(plan.Worker(2, "address").environment, ElementsAre(Pair("ISTHMUS_SIMD", "avx2")));
}

TEST(PlanTest, AWorkerIsToldWhereItsRanksLive) {
  RehearseFlags flags;
  flags.devices = "host-gpu,cuda";
  const Plan plan = Plan::Main(Options(flags), ExamplePlaces());  // of 1 and 2 ranks
  EXPECT_EQ(ValueOf(plan.Worker(1, "address"), "--ranks"), "host-gpu:1");
  EXPECT_EQ(ValueOf(plan.Worker(2, "address"), "--ranks"), "cuda:0,1");
}

TEST(PlanTest, TheCoordinatorIsToldAlpha) {
  RehearseFlags flags;
  flags.run = {{"scheme", "random"}, {"alpha", "0.25"}};
  const Command command = Plan::Main(Options(flags), ExamplePlaces()).Coordinator();
  EXPECT_EQ(ValueOf(command, "--alpha"), "0.25");
  EXPECT_THAT(Plan::Comparison(Options(flags), ExamplePlaces()).Coordinator().argv,
              Not(Contains("--alpha")));
}

TEST(PlanTest, TheCoordinatorIsToldKThatIsTheWholeChunk) {
  RehearseFlags flags;
  flags.run = {{"chunk_size", "32"}, {"k", "32"}};
  const Command command = Plan::Main(Options(flags), ExamplePlaces()).Coordinator();
  EXPECT_EQ(ValueOf(command, "--chunk-size"), "32");
  EXPECT_EQ(ValueOf(command, "--k"), "32");
}

TEST(PlanTest, AWorkerIsToldWhenItsBitFlips) {
  RehearseOptions options = Options();
  options.faults.push_back(ParseFault("flip:2@9").value());
  const Plan plan = Plan::Main(options, ExamplePlaces());
  EXPECT_EQ(ValueOf(plan.Worker(2, "127.0.0.1:4711"), "--flip-bit-at"), "9");
  EXPECT_THAT(plan.Worker(1, "127.0.0.1:4711").argv, Not(Contains("--flip-bit-at")));
  EXPECT_THAT(Plan::Comparison(options, ExamplePlaces()).Worker(2, "127.0.0.1:4711").argv,
              Not(Contains("--flip-bit-at")));
}

TEST(PlanTest, AJobFindsItsWorker) {
  RehearseFlags flags;
  flags.seed = "7";
  flags.lm_args = "--layers 2";
  const Command command = Plan::Main(Options(flags), ExamplePlaces()).Job(2, 1, 4712);
  EXPECT_EQ(command.name, "job-2-1");
  EXPECT_EQ(command.argv[0], "/bin/isthmus-lm");
  EXPECT_EQ(ValueOf(command, "--text"), "book.txt");
  EXPECT_EQ(ValueOf(command, "--steps"), "0");
  EXPECT_EQ(ValueOf(command, "--seed"), "7");
  EXPECT_EQ(ValueOf(command, "--lr"), "0.003");
  EXPECT_EQ(ValueOf(command, "--report"), "/log/job-2-1.json");
  EXPECT_EQ(ValueOf(command, "--layers"), "2");
  EXPECT_THAT(command.environment,
              ElementsAre(Pair("ISTHMUS_SOCKET", "/run/worker-2.sock"), Pair("LOCAL_RANK", "1"),
                          Pair("LOCAL_WORLD_SIZE", "2"), Pair("MASTER_ADDR", "127.0.0.1"),
                          Pair("MASTER_PORT", "4712"), Pair("RANK", "1"), Pair("WORLD_SIZE", "2")));
}

TEST(PlanTest, AnotherJobRunsAsGiven) {
  RehearseFlags flags;
  flags.command = {"python3", "job.py"};
  const Command command = Plan::Main(Options(flags), ExamplePlaces()).Job(1, 0, 4712);
  EXPECT_THAT(command.argv, ElementsAre("python3", "job.py"));
  EXPECT_EQ(command.environment.size(), 7u);
}

TEST(PlanTest, RanksOfAnotherJobShareTheCores) {
  RehearseFlags flags;
  Places places = ExamplePlaces();
  places.job_threads = 3;
  EXPECT_EQ(Plan::Main(Options(flags), places).Job(1, 0, 4712).environment.size(), 7u);
  flags.command = {"python3", "job.py"};
  EXPECT_THAT(Plan::Main(Options(flags), places).Job(1, 0, 4712).environment,
              Contains(Pair("OMP_NUM_THREADS", "3")));
}

TEST(PlanTest, AnotherJobInLocalStepsIsNotComparedWithGradients) {
  RehearseFlags flags;
  flags.run = {{"scheme", "local"}, {"every", "5"}};
  EXPECT_GT(Options(flags).compare_steps, 0u);
  flags.command = {"python3", "job.py"};
  EXPECT_EQ(Options(flags).compare_steps, 0u);
}

TEST(PlanTest, TheComparisonIsSchemeFullOnTheSameLinks) {
  RehearseFlags flags;
  flags.run = {{"k", "4"}, {"values", "f32"}, {"decay", "0.5"}, {"audit_rounds", "7"}};
  const Plan plan = Plan::Comparison(Options(flags), ExamplePlaces());
  RunSpec full = DefaultRunSpec(Scheme::kFull);
  full.rounds = 5;
  full.start_groups = 2;
  full.audit_rounds = 7;
  EXPECT_EQ(plan.options().run, full);
  EXPECT_EQ(ValueOf(plan.Coordinator(), "--scheme"), "full");
  EXPECT_EQ(plan.rounds(), 5u);
  EXPECT_TRUE(plan.options().faults.empty());
  EXPECT_EQ(plan.link(2).ToString(), "10mbit/40ms");
  EXPECT_EQ(ValueOf(plan.Job(1, 0, 4712), "--lr"), "0.004");
  EXPECT_EQ(ValueOf(plan.Job(1, 0, 4712), "--sample"), "0");
}

}  // namespace
}  // namespace isthmus
