#include "tests/golden/golden_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace isthmus {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const char* const kCase = "f_adamw_96_c16_k4_n2";
const char* const kRowCase = "random_90_r20_n2_adamw";

// A copy of one recorded case, to be damaged.
class GoldenDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    Copy(kCase);
  }
  // The one case in the directory.
  void Copy(const std::string& name) {
    if (!case_.empty()) {
      for (const char* extension : {".json", ".bin"}) {
        std::filesystem::remove(directory_ / (case_ + extension));
      }
    }
    case_ = name;
    for (const char* extension : {".json", ".bin"}) {
      std::filesystem::copy_file(std::filesystem::path(ISTHMUS_GOLDEN_DIR) / (name + extension),
                                 directory_ / (name + extension));
    }
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Flips one bit of the byte at `offset` of the arrays.
  void Damage(int64_t offset, int bit) {
    std::fstream file(directory_ / (case_ + ".bin"),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const char byte = static_cast<char>(file.get());
    file.seekp(offset);
    file.put(static_cast<char>(byte ^ (1 << bit)));
  }
  // Damages the first number of each array in turn, so that each is the first to differ.
  void ExpectAllCompared(const std::vector<std::pair<std::string, int64_t>>& arrays) {
    for (const auto& [array, offset] : arrays) {
      const int bit = array == "sel_idx" ? 0 : 6;
      Damage(offset, bit);
      out_.str("");
      EXPECT_EQ(Check().failed, 1) << array;
      EXPECT_THAT(out_.str(), HasSubstr("FAILED " + case_ + ": " + array + "[0] expected"));
      Damage(offset, bit);
    }
    EXPECT_EQ(Check().passed, 1);
  }
  GoldenCounts Check() { return CheckGoldenDirectory(directory_, out_); }

  std::filesystem::path directory_;
  std::string case_;
  std::ostringstream out_;
};

TEST_F(GoldenDirectoryTest, AnUndamagedCopyPasses) {
  EXPECT_EQ(Check().passed, 1);
  EXPECT_THAT(out_.str(), IsEmpty());
}

// Offsets from the case's manifest; a bit of the mantissa worth more than the tolerance.
TEST_F(GoldenDirectoryTest, EveryComparedArrayIsCompared) {
  ExpectAllCompared({{"sel_idx", 2112},
                     {"sel_val", 3074},
                     {"delta", 4034},
                     {"agg", 7874},
                     {"param", 9794},
                     {"exp_avg", 11714},
                     {"exp_avg_sq", 12098}});
}

TEST_F(GoldenDirectoryTest, EveryComparedArrayOfRowSchemesIsCompared) {
  Copy(kRowCase);
  // The exponents, for some of these are zero.
  ExpectAllCompared({{"row_val", 1923},
                     {"delta", 2499},
                     {"agg", 5379},
                     {"param", 6819},
                     {"exp_avg", 8259},
                     {"exp_avg_sq", 8627}});
}

TEST_F(GoldenDirectoryTest, OtherRowsFail) {
  Copy(kRowCase);
  Damage(1632, 0);
  EXPECT_EQ(Check().failed, 1);
  Damage(1632 + 3, 6);  // no row at all
  EXPECT_EQ(Check().failed, 1);
  EXPECT_THAT(out_.str(), HasSubstr("row_idx: expected below 90"));
}

TEST_F(GoldenDirectoryTest, ADamagedInputFails) {
  Damage(193, 4);  // the first gradient
  EXPECT_EQ(Check().failed, 1);
}

TEST_F(GoldenDirectoryTest, AShortFileFails) {
  std::filesystem::resize_file(directory_ / (std::string(kCase) + ".bin"), 1000);
  EXPECT_EQ(Check().failed, 1);
  EXPECT_THAT(out_.str(), HasSubstr("ends at byte"));
}

TEST_F(GoldenDirectoryTest, AManifestWithoutAFieldFails) {
  std::ofstream(directory_ / (std::string(kCase) + ".json")) << R"({"kind": "demo", "arrays": []})";
  EXPECT_EQ(Check().failed, 1);
}

TEST_F(GoldenDirectoryTest, UnknownKindsAreSkippedByName) {
  std::ofstream(directory_ / (std::string(kCase) + ".json"))
      << R"({"kind": "gossip", "arrays": []})";
  EXPECT_EQ(Check().skipped, 1);
  EXPECT_THAT(out_.str(), HasSubstr("skipped f_adamw_96_c16_k4_n2: kind gossip"));
}

TEST_F(GoldenDirectoryTest, NoDirectoryHasNoCases) {
  const GoldenCounts counts = CheckGoldenDirectory(directory_ / "none", out_);
  EXPECT_EQ(counts.passed + counts.failed + counts.skipped, 0);
}

}  // namespace
}  // namespace isthmus
