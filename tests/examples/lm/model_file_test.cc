#include "examples/lm/model_file.h"

#include "examples/lm/file.h"
#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

constexpr ModelConfig kTiny = {.width = 8, .layers = 1, .heads = 2, .context = 4};

std::string SaveTiny() {
  const std::string path = testing::TempDir() + "isthmus_lm_model";
  EXPECT_TRUE(SaveModel(path, kTiny, InitialParameters<float>(kTiny, 5)).ok());
  return path;
}

TEST(ModelFileTest, WhatIsSavedIsLoaded) {
  const absl::StatusOr<SavedModel> saved = LoadModel(SaveTiny());
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->config.width, kTiny.width);
  EXPECT_EQ(saved->config.layers, kTiny.layers);
  EXPECT_EQ(saved->config.heads, kTiny.heads);
  EXPECT_EQ(saved->config.context, kTiny.context);
  EXPECT_EQ(saved->parameters.flat(), InitialParameters<float>(kTiny, 5).flat());
}

TEST(ModelFileTest, RefusesEveryTruncationAndWhatFollowsTheEnd) {
  const std::string path = SaveTiny();
  const std::string whole = *ReadFile(path, 1 << 20);
  for (size_t size = 0; size < whole.size(); size += 97) {
    ASSERT_TRUE(WriteFile(path, whole.substr(0, size)).ok());
    EXPECT_EQ(LoadModel(path).status().code(), absl::StatusCode::kDataLoss) << size;
  }
  ASSERT_TRUE(WriteFile(path, whole + "x").ok());
  EXPECT_EQ(LoadModel(path).status().code(), absl::StatusCode::kDataLoss);
}

TEST(ModelFileTest, RefusesAConfigThatDoesNotFitTheLength) {
  const std::string path = SaveTiny();
  std::string bytes = *ReadFile(path, 1 << 20);
  bytes[8 + 4] = 2;  // layers
  ASSERT_TRUE(WriteFile(path, bytes).ok());
  EXPECT_EQ(LoadModel(path).status().code(), absl::StatusCode::kDataLoss);
  bytes[8 + 7] = '\xff';
  ASSERT_TRUE(WriteFile(path, bytes).ok());
  EXPECT_EQ(LoadModel(path).status().code(), absl::StatusCode::kDataLoss);
}

TEST(ModelFileTest, AMissingFileIsNotFound) {
  EXPECT_EQ(LoadModel("/no/such/model").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace isthmus::lm
