#include "examples/lm/text.h"

#include <cmath>
#include <filesystem>
#include <set>

#include "examples/lm/file.h"
#include "gtest/gtest.h"

namespace isthmus::lm {
namespace {

std::string EmptyDirectory(const std::string& name) {
  const std::string directory = testing::TempDir() + "isthmus_lm_" + name;
  std::filesystem::remove_all(directory);
  std::filesystem::create_directory(directory);
  return directory;
}

TEST(TextTest, SplitsEachFileNineToOne) {
  Text text;
  text.Append(std::string(90, 'a') + std::string(10, 'b'));
  text.Append(std::string(9, 'c') + "d");
  EXPECT_EQ(text.train(), std::string(90, 'a') + std::string(9, 'c'));
  EXPECT_EQ(text.validation(), std::string(10, 'b') + "d");
}

TEST(TextTest, ADirectoryMeansItsRegularTextFilesInOrderOfName) {
  const std::string directory = EmptyDirectory("directory");
  ASSERT_TRUE(WriteFile(directory + "/b", "2222222222").ok());
  ASSERT_TRUE(WriteFile(directory + "/a", "1111111111").ok());
  ASSERT_TRUE(WriteFile(directory + "/binary", std::string("33333\0xxxx", 10)).ok());
  std::filesystem::create_symlink("a", directory + "/link");
  std::filesystem::create_directory(directory + "/nested");
  const absl::StatusOr<Text> text = Text::Load({directory});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->train(), "111111111222222222");
  EXPECT_EQ(text->validation(), "12");
}

TEST(TextTest, ExplainsWhatItCannotRead) {
  EXPECT_EQ(Text::Load({"/no/such/file"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Text::Load({EmptyDirectory("empty")}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TextTest, UnigramEntropyOfEquallyFrequentSymbols) {
  std::string file;
  for (int i = 0; i < 10000; ++i) file.push_back("wxyz"[i % 4]);
  Text text;
  text.Append(file);
  EXPECT_NEAR(text.UnigramEntropy(), std::log(4.0), 0.03);  // 0.03: the smoothing's share
}

// A text whose every window tells where it starts: 32-bit counters.
std::string Counters(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) {
    for (int shift = 24; shift >= 0; shift -= 8) text.push_back(static_cast<char>(i >> shift));
  }
  return text;
}

TEST(BatchTest, EverySeedGroupRankAndRoundReadsWindowsOfItsOwn) {
  const std::string text = Counters(1 << 20);
  std::set<std::vector<uint8_t>> windows;
  int drawn = 0;
  Batch batch;
  for (uint64_t seed : {1, 2}) {
    for (uint32_t group : {0, 1, 2}) {
      for (uint32_t rank : {0, 1}) {
        for (uint64_t round : {0, 1, 2, 3}) {
          FillRandom(text, {seed, group, rank, round}, 4, 12, &batch);
          for (int i = 0; i < batch.count; ++i, ++drawn) {
            windows.emplace(batch.inputs.begin() + i * 12, batch.inputs.begin() + (i + 1) * 12);
          }
        }
      }
    }
  }
  // 192 draws from 4 million starts: with these keys no two are the same.
  EXPECT_EQ(windows.size(), static_cast<size_t>(drawn));
}

TEST(BatchTest, TheSameKeyReadsTheSameWindows) {
  const std::string text = Counters(1000);
  Batch one;
  Batch two;
  FillRandom(text, {1, 2, 3, 4}, 4, 8, &one);
  FillRandom(text, {1, 2, 3, 4}, 4, 8, &two);
  EXPECT_EQ(one.inputs, two.inputs);
}

TEST(BatchTest, TargetsAreTheBytesThatFollow) {
  Batch batch;
  FillRandom("abcdefgh", {1, 0, 0, 0}, 20, 4, &batch);
  for (size_t i = 0; i < batch.inputs.size(); ++i) {
    EXPECT_EQ(batch.targets[i], batch.inputs[i] + 1);
  }
}

TEST(BatchTest, TrainingWindowsHoldNoValidationByte) {
  Text text;
  text.Append(std::string(900, 't') + std::string(100, 'v'));
  text.Append(std::string(90, 't') + std::string(10, 'v'));
  Batch batch;
  for (uint64_t round = 0; round < 200; ++round) {
    FillRandom(text.train(), {1, 0, 0, round}, 4, 32, &batch);
    for (uint8_t byte : batch.inputs) ASSERT_EQ(byte, 't');
    for (uint8_t byte : batch.targets) ASSERT_EQ(byte, 't');
  }
}

TEST(BatchTest, SpacedWindowsReachBothEndsWhateverTheBatchSize) {
  const std::string text = "0123456789";
  Batch all;
  FillSpaced(text, 0, 4, 4, 3, &all);
  EXPECT_EQ(std::string(all.inputs.begin(), all.inputs.begin() + 3), "012");
  EXPECT_EQ(std::string(all.targets.end() - 3, all.targets.end()), "789");
  Batch last;
  FillSpaced(text, 3, 1, 4, 3, &last);
  EXPECT_EQ(last.inputs, std::vector<uint8_t>(all.inputs.begin() + 9, all.inputs.end()));
}

}  // namespace
}  // namespace isthmus::lm
