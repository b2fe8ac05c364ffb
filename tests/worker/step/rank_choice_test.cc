#include "worker/step/rank_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/device/cuda_device.h"

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(RankChoiceTest, Cpus) {
  const auto choice = ParseRankChoice("cpu:3");
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->kind, RankChoice::Kind::kCpu);
  EXPECT_EQ(choice->count, 3u);
  EXPECT_THAT(OpenGpuPlaces(*choice).value(), IsEmpty());
}

TEST(RankChoiceTest, GpusByIndexOrAll) {
  EXPECT_EQ(ParseRankChoice("cuda:0,2,2")->kind, RankChoice::Kind::kCuda);
  EXPECT_THAT(ParseRankChoice("cuda:0,2,2")->devices, ElementsAre(0, 2, 2));
  EXPECT_THAT(ParseRankChoice("cuda:7")->devices, ElementsAre(7));
  EXPECT_THAT(ParseRankChoice("cuda:all")->devices, IsEmpty());
}

TEST(RankChoiceTest, TheHostInTheGpusPlace) {
  const auto places = OpenGpuPlaces(*ParseRankChoice("host-gpu:2"));
  ASSERT_TRUE(places.ok());
  ASSERT_EQ(places->size(), 2u);
  EXPECT_EQ(places->front().device->name(), "host");
}

TEST(RankChoiceTest, AnythingElseIsRefusedInWords) {
  for (const char* text : {"", "cpu", "cpu:", "cpu:0", "cpu:257", "cpu:-1", "cpu:2x", "cuda",
                           "cuda:", "cuda:0,", "cuda:-1", "cuda:0;1", "gpu:0", "4"}) {
    const auto choice = ParseRankChoice(text);
    ASSERT_FALSE(choice.ok()) << text;
    EXPECT_EQ(choice.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(choice.status().message()), HasSubstr(std::string("'") + text + "'"));
  }
}

TEST(RankChoiceTest, WithoutAGpuItSaysWhy) {
  if (CountCudaDevices().ok()) GTEST_SKIP() << "there is a GPU";
  const auto places = OpenGpuPlaces(*ParseRankChoice("cuda:all"));
  ASSERT_FALSE(places.ok());
  EXPECT_EQ(places.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(places.status().message()), HasSubstr("CUDA: "));
}

}  // namespace
}  // namespace isthmus
