// Flags of the coordinator: what they become, and what is refused before anything begins.
#include "server/flags.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "common/run/spec_fields.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

class CoordinatorFlagsTest : public ::testing::Test {
 protected:
  std::variant<CoordinatorFlags, int> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "isthmus-coordinator");
    out_.str("");
    errors_.str("");
    return ParseCoordinatorFlags(static_cast<int>(arguments.size()), arguments.data(), out_,
                                 errors_);
  }

  CoordinatorServer::Options Take(std::vector<const char*> arguments) {
    const auto parsed = Parse(std::move(arguments));
    EXPECT_TRUE(std::holds_alternative<CoordinatorFlags>(parsed)) << errors_.str();
    if (std::holds_alternative<int>(parsed)) return {};
    return std::get<CoordinatorFlags>(parsed).server;
  }

  // The exit code, or -1 if it would run.
  int Code(std::vector<const char*> arguments) {
    const auto parsed = Parse(std::move(arguments));
    return std::holds_alternative<int>(parsed) ? std::get<int>(parsed) : -1;
  }

  std::ostringstream out_;
  std::ostringstream errors_;
};

TEST_F(CoordinatorFlagsTest, DefaultsAreTheSchemes) {
  const CoordinatorServer::Options options = Take({});
  EXPECT_EQ(options.listen, "127.0.0.1:29750");
  EXPECT_EQ(options.engine.core.run, DefaultRunSpec(Scheme::kFlexDemo));
  EXPECT_EQ(options.engine.core.deadline, absl::Seconds(60));
  EXPECT_TRUE(options.engine.core.learn_deadline);
  EXPECT_EQ(options.engine.core.reconnect_grace, absl::Seconds(5));
  EXPECT_EQ(options.engine.core.max_groups, 1024u);
  EXPECT_EQ(options.engine.ring_bytes, 256u << 20);
  for (const char* scheme : {"full", "none", "random", "striding", "slicing"}) {
    EXPECT_EQ(Take({"--scheme", scheme}).engine.core.run, DefaultRunSpec(*ParseScheme(scheme)))
        << scheme;
  }
}

TEST_F(CoordinatorFlagsTest, WhatIsGivenIsTaken) {
  const CoordinatorServer::Options options = Take({"--listen",
                                                   "[::1]:0",
                                                   "--chunk",
                                                   "128",
                                                   "--k",
                                                   "4",
                                                   "--decay",
                                                   "0.5",
                                                   "--alpha",
                                                   "0.25",
                                                   "--values",
                                                   "f32",
                                                   "--no-sign",
                                                   "--merge",
                                                   "mean",
                                                   "--optimizer",
                                                   "adamw",
                                                   "--rounds",
                                                   "7",
                                                   "--start-groups",
                                                   "3",
                                                   "--min-groups",
                                                   "2",
                                                   "--initial-donor",
                                                   "0",
                                                   "--audit-rounds",
                                                   "0",
                                                   "--deadline",
                                                   "off",
                                                   "--fixed-deadline",
                                                   "--reconnect-grace",
                                                   "500ms",
                                                   "--ring-mib",
                                                   "1",
                                                   "--max-groups",
                                                   "3",
                                                   "--seed",
                                                   "18446744073709551615"});
  const RunSpec& run = options.engine.core.run;
  EXPECT_EQ(options.listen, "[::1]:0");
  EXPECT_EQ(run.format.chunk_size, 128u);
  EXPECT_EQ(run.format.all.k, 4u);
  EXPECT_EQ(run.decay, 0.5f);
  EXPECT_EQ(run.alpha, 0.25f);
  EXPECT_EQ(run.format.all.values, ValueFormat::kF32);
  EXPECT_FALSE(run.sign);
  EXPECT_EQ(run.merge, MergeRule::kMean);
  EXPECT_EQ(run.optimizer.kind, OptimizerKind::kAdamW);
  EXPECT_EQ(run.rounds, 7u);
  EXPECT_EQ(run.start_groups, 3u);
  EXPECT_EQ(run.min_groups, 2u);
  EXPECT_EQ(run.initial_donor, GroupId(0));
  EXPECT_EQ(run.audit_rounds, 0u);
  EXPECT_EQ(run.seed, UINT64_MAX);
  EXPECT_EQ(options.engine.core.deadline, absl::InfiniteDuration());
  EXPECT_FALSE(options.engine.core.learn_deadline);
  EXPECT_EQ(options.engine.core.reconnect_grace, absl::Milliseconds(500));
  EXPECT_EQ(options.engine.ring_bytes, 1u << 20);
  EXPECT_EQ(Take({"--scheme", "full", "--chunk", "256"}).engine.core.run.format.all.k, 256u);
}

TEST_F(CoordinatorFlagsTest, EveryFieldOfARunHasAFlag) {
  const RunSpec defaults = DefaultRunSpec(Scheme::kFlexDemo);
  ASSERT_EQ(Code({"--help"}), 0);
  const std::string help = out_.str();
  for (const SpecField& field : SpecFields()) {
    std::string flag = absl::StrCat("--", absl::StrReplaceAll(field.name, {{"_", "-"}}));
    EXPECT_THAT(help, HasSubstr(flag));
    const std::string text = field.text(defaults);
    std::vector<const char*> arguments = {flag.c_str(), text.c_str()};
    if (field.opposite != nullptr) {
      if (text == "false") flag.insert(2, "no-");
      arguments = {flag.c_str()};
    }
    if (text.empty()) continue;  // no group has a format of its own
    EXPECT_EQ(Take(arguments).engine.core.run, defaults) << flag;
  }
}

TEST_F(CoordinatorFlagsTest, AGroupCanKeepLess) {
  const RunSpec run = Take({"--group-formats", "3=1/1bit,5=2/4bit"}).engine.core.run;
  EXPECT_EQ(run.format.own.at(GroupId(3)), (GroupFormat{1, ValueFormat::kOneBit}));
  EXPECT_EQ(run.format.own.at(GroupId(5)), (GroupFormat{2, ValueFormat::kInt4}));
  EXPECT_EQ(Code({"--group-formats", "3=1"}), 2);
  EXPECT_THAT(errors_.str(), HasSubstr("--group-formats: expected GROUP=K/VALUES"));
}

TEST_F(CoordinatorFlagsTest, HelpIsNoFailure) {
  EXPECT_EQ(Code({"--help"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("Exit codes:"));
}

TEST_F(CoordinatorFlagsTest, FlagsThatCannotBeAreRefused) {
  struct Case {
    std::vector<const char*> arguments;
    const char* words;
  };
  const Case cases[] = {
      {{"--rounds", "-1"}, "--rounds: expected a whole number from 0 to"},
      {{"--rounds", "18446744073709551615"}, "--rounds: expected a whole number from 0 to"},
      {{"--rounds", "010"}, "got '010'"},
      {{"--max-groups", "0"}, "--max-groups: expected a whole number from 1 to"},
      {{"--max-groups", "4294967296"}, "--max-groups: expected"},
      {{"--start-groups", "0"}, "--start-groups: expected a whole number from 1 to"},
      {{"--start-groups", "1025"},
       "--start-groups 1025: no more than --max-groups 1024 can register"},
      {{"--start-groups", "3", "--max-groups", "2"},
       "--start-groups 3: no more than --max-groups 2"},
      {{"--min-groups", "0"}, "--min-groups: expected"},
      {{"--min-groups", "2"}, "min_groups"},
      {{"--initial-donor", "-5"}, "--initial-donor: expected"},
      {{"--initial-donor", "5000000000"}, "--initial-donor: expected"},
      {{"--ring-mib", "0"}, "--ring-mib: expected a whole number from 1 to"},
      {{"--ring-mib", "17592186044416"}, "--ring-mib: expected"},
      {{"--ring-mib", "-1"}, "--ring-mib: expected"},
      {{"--audit-rounds", "-1"}, "--audit-rounds: expected"},
      {{"--bucket-length", "-64"}, "--bucket-length: expected"},
      {{"--seed", "-1"}, "--seed: expected"},
      {{"--chunk", "0"}, "--chunk: expected"},
      {{"--chunk", "48"}, "chunk_size"},
      {{"--k", "-1"}, "--k: expected"},
      {{"--k", "65"}, "k"},
      {{"--decay", "nan"}, "--decay: expected a number"},
      {{"--alpha", "inf"}, "--alpha: expected a number"},
      {{"--adam-epsilon", "-1"}, "adam_epsilon"},
      {{"--deadline", "-5s"}, "--deadline: expected a duration"},
      {{"--deadline", "0"}, "--deadline: expected a duration"},
      {{"--reconnect-grace", "soon"}, "--reconnect-grace: expected a duration"},
      {{"--sign", "--no-sign"}, "excludes"},
      {{"--scheme", "best"}, "best"},
      {{"--values", "f64"}, "f64"},
      {{"--listen", "127.0.0.1:99999"}, "--listen: expected HOST:PORT"},
      {{"--listen", "none"}, "--listen: expected HOST:PORT"},
      {{"--listen", ""}, "--listen"},
      {{"--listen", ":29750"}, "--listen: expected HOST:PORT"},
      {{"--listen", "0.0.0.0:1"}, "not loopback"},
      {{"--no-such-flag"}, "no-such-flag"},
      {{"surplus"}, "surplus"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Code(c.arguments), 2) << c.arguments[0] << " " << c.words;
    EXPECT_THAT(errors_.str(), HasSubstr(c.words));
  }
}

}  // namespace
}  // namespace isthmus
