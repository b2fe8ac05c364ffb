#include "cli/rehearse/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RehearseFlags Flags() {
  RehearseFlags flags;
  flags.text = "book.txt";
  return flags;
}

RehearseOptions Parse(const RehearseFlags& flags) {
  const absl::StatusOr<RehearseOptions> options = ParseRehearseFlags(flags);
  EXPECT_TRUE(options.ok()) << options.status();
  return options.ok() ? *options : RehearseOptions();
}

TEST(RehearseOptionsTest, DefaultsAreTheDemo) {
  const RehearseOptions options = Parse(Flags());
  EXPECT_THAT(options.ranks, ElementsAre(2, 2));
  EXPECT_EQ(options.links[0].ToString(), "10mbit/40ms");
  RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
  run.rounds = 300;
  run.start_groups = 2;
  EXPECT_EQ(options.run, run);
  EXPECT_EQ(options.lr, 0.003);
  EXPECT_THAT(options.simd, ElementsAre("", ""));
  EXPECT_THAT(options.devices, ElementsAre("cpu", "cpu"));
  EXPECT_FALSE(options.deadline.has_value());
}

TEST(RehearseOptionsTest, EverySchemeHasItsDefaults) {
  for (const char* name : {"flexdemo", "full", "random", "striding", "slicing", "none"}) {
    const Scheme scheme = *ParseScheme(name);
    RunSpec run = DefaultRunSpec(scheme);
    run.rounds = 300;
    run.start_groups = 2;
    RehearseFlags flags = Flags();
    flags.run["scheme"] = name;
    EXPECT_EQ(Parse(flags).run, run) << name;
    EXPECT_EQ(Parse(flags).lr, DefaultLearningRate(scheme)) << name;
    flags.lr = "0.1";
    EXPECT_EQ(Parse(flags).lr, 0.1) << name;
  }
}

TEST(RehearseOptionsTest, DialsOfTheNumericsMayBeSet) {
  RehearseFlags flags = Flags();
  flags.run = {{"alpha", "0.25"}, {"values", "4bit"}};
  flags.simd = "scalar,avx2";
  EXPECT_EQ(Parse(flags).run.alpha, 0.25f);
  EXPECT_EQ(Parse(flags).run.format.all.values, ValueFormat::kInt4);
  EXPECT_THAT(Parse(flags).simd, ElementsAre("scalar", "avx2"));
  flags.simd = "scalar";
  EXPECT_THAT(Parse(flags).simd, ElementsAre("scalar", "scalar"));
  flags.devices = "cuda,cpu,host-gpu";
  flags.simd = "";
  EXPECT_THAT(Parse(flags).devices, ElementsAre("cuda", "cpu", "host-gpu"));
}

TEST(RehearseOptionsTest, ListsAreOnePerSite) {
  RehearseFlags flags = Flags();
  flags.ranks = "1,2,3";
  flags.link = "10mbit/40ms,none,1gbit/5ms";
  const RehearseOptions options = Parse(flags);
  EXPECT_THAT(options.ranks, ElementsAre(1, 2, 3));
  EXPECT_EQ(options.links[1].ToString(), "none");
  flags.link = "none";
  EXPECT_EQ(Parse(flags).links.size(), 3u);
  flags.ranks = "1";
  flags.sites = "4";
  EXPECT_THAT(Parse(flags).ranks, ElementsAre(1, 1, 1, 1));
}

TEST(RehearseOptionsTest, AJobMayReplaceTheText) {
  RehearseFlags flags;
  EXPECT_FALSE(ParseRehearseFlags(flags).ok());
  flags.command = {"./job", "--flag"};
  EXPECT_THAT(Parse(flags).command, ElementsAre("./job", "--flag"));
}

TEST(RehearseOptionsTest, JobFlagsAreSplitAtBlanks) {
  RehearseFlags flags = Flags();
  flags.lm_args = " --layers 2  --width 64";
  EXPECT_THAT(Parse(flags).lm_args, ElementsAre("--layers", "2", "--width", "64"));
}

TEST(RehearseOptionsTest, FaultsName) {
  const absl::StatusOr<Fault> kill = ParseFault("kill:2@50");
  ASSERT_TRUE(kill.ok()) << kill.status();
  EXPECT_EQ(*kill, (Fault{Fault::Kind::kKill, 2, 50, absl::ZeroDuration()}));
  const absl::StatusOr<Fault> cut = ParseFault("cut:1@100/2.5s");
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ(*cut, (Fault{Fault::Kind::kCut, 1, 100, absl::Seconds(2.5)}));
  const absl::StatusOr<Fault> flip = ParseFault("flip:2@5");
  ASSERT_TRUE(flip.ok()) << flip.status();
  EXPECT_EQ(*flip, (Fault{Fault::Kind::kFlip, 2, 5, absl::ZeroDuration()}));
}

struct BadFlag {
  const char* name;  // of the flag, or the run's field
  std::function<void(RehearseFlags&)> set;
  const char* expected;
};

TEST(RehearseOptionsTest, SaysWhichFlagIsWrongWhatIsExpectedAndWhatCame) {
  const BadFlag cases[] = {
      {"--sites", [](auto& f) { f.sites = "0"; }, "a whole number from 1 to 64, got '0'"},
      {"--sites", [](auto& f) { f.sites = "two"; }, "got 'two'"},
      {"--ranks", [](auto& f) { f.ranks = "2,x"; }, "a whole number from 1 to 64, got 'x'"},
      {"--ranks", [](auto& f) { f.sites = "3", f.ranks = "1,2"; }, "each of 3 sites, got '1,2'"},
      {"--link", [](auto& f) { f.link = "10"; }, "got '10'"},
      {"--link", [](auto& f) { f.ranks = "1,2,3", f.link = "none,none"; }, "each of 3 sites"},
      {"scheme", [](auto& f) { f.run["scheme"] = "best"; }, "got 'best'"},
      {"chunk_size", [](auto& f) { f.run["chunk_size"] = "48"; }, "a power of two from 16 to 4096"},
      {"k", [](auto& f) { f.run["k"] = "65"; }, "1 to chunk_size 64, got 65"},
      {"k",
       [](auto& f) {
         f.run = {{"scheme", "full"}, {"k", "4"}};
       },
       "with scheme full, got 4"},
      {"values", [](auto& f) { f.run["values"] = "f64"; }, "got 'f64'"},
      {"min_groups", [](auto& f) { f.run["min_groups"] = "3"; }, "1 to start_groups 2, got 3"},
      {"--simd", [](auto& f) { f.simd = "a,b,c"; }, "each of 2 sites, got 'a,b,c'"},
      {"--devices", [](auto& f) { f.devices = "cpu,tpu"; }, "got 'tpu'"},
      {"--devices",
       [](auto& f) {
         f.sites = "2";
         f.devices = "cpu,cpu,cuda";
       },
       "each of 2 sites"},
      {"--lr", [](auto& f) { f.lr = "0"; }, "above 0, got '0'"},
      {"--steps", [](auto& f) { f.steps = "1e3"; }, "got '1e3'"},
      {"--batch", [](auto& f) { f.batch = "-1"; }, "got '-1'"},
      {"--seed", [](auto& f) { f.seed = "x"; }, "got 'x'"},
      {"--compare-steps", [](auto& f) { f.compare_steps = "x"; }, "got 'x'"},
      {"--deadline", [](auto& f) { f.deadline = "60"; }, "a duration such as 60s, got '60'"},
      {"--pace", [](auto& f) { f.pace = "10%"; }, "a share from 0.001 to 0.999, or off, got '10%'"},
      {"pace",
       [](auto& f) {
         f.pace = "0.1";
         f.run["scheme"] = "full";
       },
       "expected scheme flexdemo or local, got scheme full"},
      {"--link-trace",
       [](auto& f) {
         f.link_trace = "a,b,c";
         f.sites = "2";
       },
       "each of 2 sites"},
      {"--text", [](auto& f) { f.text = ""; }, "got ''"},
      {"--fault", [](auto& f) { f.faults = {"kill:1"}; }, "kill:SITE@ROUND"},
      {"--fault", [](auto& f) { f.faults = {"cut:1@5"}; }, "cut:SITE@ROUND/SECONDS"},
      {"--fault", [](auto& f) { f.faults = {"cut:1@5/0"}; }, "above 0"},
      {"--fault", [](auto& f) { f.faults = {"flip:1@5/1"}; }, "flip:SITE@ROUND"},
      {"--fault",
       [](auto& f) {
         f.steps = "50";
         f.faults = {"flip:1@50"};
       },
       "before the last round"},
      {"--fault",
       [](auto& f) {
         f.faults = {"flip:1@5", "flip:1@9"};
       },
       "one flip for each site"},
      {"--fault", [](auto& f) { f.faults = {"burn:1@5"}; }, "got 'burn:1@5'"},
      {"--fault", [](auto& f) { f.faults = {"kill:3@5"}; }, "a site from 1 to 2"},
      {"--fault", [](auto& f) { f.faults = {"kill:1@301"}; }, "a round from 1 to 300"},
  };
  for (const BadFlag& bad : cases) {
    RehearseFlags flags = Flags();
    bad.set(flags);
    const absl::Status status = ParseRehearseFlags(flags).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.name << bad.expected;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.name));
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.expected));
  }
}

}  // namespace
}  // namespace isthmus
