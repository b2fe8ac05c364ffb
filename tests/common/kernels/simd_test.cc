#include "common/kernels/simd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace isthmus {
namespace {

using testing::HasSubstr;

// Sets ISTHMUS_SIMD, and puts back what it was.
class SimdChoiceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* before = std::getenv(kVariable)) before_ = before;
  }
  void TearDown() override {
    before_.empty() ? unsetenv(kVariable) : setenv(kVariable, before_.c_str(), 1);
  }
  static constexpr const char* kVariable = "ISTHMUS_SIMD";
  std::string before_;
};

TEST_F(SimdChoiceTest, TheScalarSetComesFirstAndNamesAreDistinct) {
  ASSERT_GE(AvailableKernels().size(), 2u);
  EXPECT_EQ(AvailableKernels().front(), &kScalarKernels);
  for (const TileKernels* kernels : AvailableKernels()) {
    EXPECT_EQ(*KernelsNamed(kernels->name), kernels);
  }
}

TEST_F(SimdChoiceTest, AnUnknownNameIsRefusedWithThoseThatThereAre) {
  for (const char* name : {"AVX2", "mmx", " ", ""}) {
    const absl::Status status = KernelsNamed(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("expected an instruction set of this machine (scalar, "));
    EXPECT_THAT(std::string(status.message()), HasSubstr("got '" + std::string(name) + "'"));
  }
}

TEST_F(SimdChoiceTest, UnsetAndEmptyChooseFreely) {
  unsetenv(kVariable);
  EXPECT_TRUE(CheckSimdChoice().ok());
  setenv(kVariable, "", 1);
  EXPECT_TRUE(CheckSimdChoice().ok());
}

TEST_F(SimdChoiceTest, EveryAvailableSetMayBeChosen) {
  for (const TileKernels* kernels : AvailableKernels()) {
    setenv(kVariable, kernels->name, 1);
    EXPECT_TRUE(CheckSimdChoice().ok()) << kernels->name;
  }
}

TEST_F(SimdChoiceTest, AWrongChoiceNamesTheVariable) {
  setenv(kVariable, "avx1024", 1);
  const absl::Status status = CheckSimdChoice();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ISTHMUS_SIMD: expected"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("got 'avx1024'"));
}

TEST_F(SimdChoiceTest, TheActiveSetIsAvailable) {
  EXPECT_EQ(*KernelsNamed(ActiveKernels().name), &ActiveKernels());
}

}  // namespace
}  // namespace isthmus
