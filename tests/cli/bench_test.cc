// What `isthmus bench` measures is there, in words and as JSON; how fast anything is no test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/base/exit_codes.h"
#include "cli/bench/bench_command.h"
#include "cli/bench/dense_workloads.h"
#include "cli/bench/figures.h"

namespace isthmus {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

const std::vector<Figure>& Figures() {
  static const std::vector<Figure> figures =
      MeasureFigures({.parameters = uint64_t{1} << 20, .repeats = 1}, [](const std::string&) {});
  return figures;
}

Figure Named(const std::string& name) {
  const auto at = std::ranges::find(Figures(), name, &Figure::name);
  if (at != Figures().end()) return *at;
  ADD_FAILURE() << name << " is not measured";
  return {};
}

TEST(BenchTest, AnExchangeOfLocalStepsIsMeasuredFromTheJobsBuffersToTheMasters) {
  for (const char* name :
       {"progress_vs_memcpy", "upload_dense_2bit_vs_memcpy", "apply_dense_2bit_2_groups_vs_memcpy",
        "apply_dense_2bit_requantized_vs_memcpy"}) {
    EXPECT_GT(Named(name).value, 0.0) << name;
    EXPECT_EQ(Named(name).unit, "x") << name;
  }
  for (const char* name : {"upload_dense_2bit_vs_memcpy", "apply_dense_2bit_2_groups_vs_memcpy",
                           "apply_dense_2bit_requantized_vs_memcpy"}) {
    EXPECT_EQ(Named(name).must, 3.0) << name;
  }
}

TEST(BenchTest, WhatIsNoTimeHoldsOnEveryMachine) {
  for (const char* name :
       {"allocations_per_step", "allocations_per_dense_step",
        "payload_bytes_per_parameter_dense_2bit", "requantized_bytes_per_parameter_dense_2bit",
        "bytes_per_parameter_random_8_sign"}) {
    EXPECT_TRUE(Named(name).holds()) << name << " " << Named(name).value;
  }
  // A block is a scale and its bits; payloads and updates have a header each.
  EXPECT_NEAR(Named("payload_bytes_per_parameter_dense_2bit").value, 17.0 / 64, 1e-4);
  EXPECT_NEAR(Named("requantized_bytes_per_parameter_dense_2bit").value, 33.0 / 64, 1e-4);
}

TEST(BenchTest, TableAndJsonSayEveryFigure) {
  const std::string table = FiguresTable(Figures());
  const auto json = nlohmann::json::parse(FiguresJson(Figures()));
  std::vector<std::string> names, said;
  for (const Figure& figure : Figures()) {
    EXPECT_THAT(table, HasSubstr(figure.name + " "));
    names.push_back(figure.name);
  }
  for (const auto& figure : json) {
    said.push_back(figure.at("name"));
    EXPECT_EQ(figure.at("must").is_null(), Named(said.back()).must == 0);
    EXPECT_EQ(figure.at("value"), Named(said.back()).value);
  }
  EXPECT_THAT(said, ElementsAreArray(names));
}

TEST(BenchTest, AMissedLimitIsSaidInTheTable) {
  const std::string table = FiguresTable({{"slow", 4, "x", 3}, {"fast", 2, "x", 3}});
  EXPECT_THAT(table, HasSubstr("missed"));
  EXPECT_EQ(table.find("missed"), table.rfind("missed"));
  EXPECT_LT(table.find("slow"), table.find("missed"));
  EXPECT_LT(table.find("missed"), table.find("fast"));
}

// Whatever is measured is done: repeated steps of all kinds say the same as others that have made
// as many.
TEST(DenseWorkloadsTest, StepsAreReproducible) {
  const DenseWorkloads::Options options{.parameters = 1 << 14, .bucket = 1 << 12};
  DenseWorkloads one(options), two(options);
  for (DenseWorkloads* work : {&one, &two}) {
    for (int i = 0; i < 3; ++i) {
      work->Upload();
      work->ApplyForwarded();
      work->ApplyRequantized();
      work->Memcpy();
      work->Progress();
    }
  }
  EXPECT_NE(one.hash(), 0u);
  EXPECT_EQ(one.hash(), two.hash());
}

}  // namespace
}  // namespace isthmus
