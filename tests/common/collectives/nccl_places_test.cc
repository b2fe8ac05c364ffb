#include "common/collectives/nccl_places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace isthmus {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

class NcclPlacesTest : public ::testing::Test {
 protected:
  NcclPlacesTest() {
    std::string name = (fs::temp_directory_path() / "isthmus-nccl-XXXXXX").string();
    environment_ = ::mkdtemp(name.data());
  }
  ~NcclPlacesTest() override { fs::remove_all(environment_); }

  // A file where pip puts it; its path.
  std::string Install(const std::string& packages) {
    const fs::path folder = environment_ / "lib" / packages / "nvidia/nccl/lib";
    fs::create_directories(folder);
    std::ofstream(folder / "libnccl.so.2") << "not looked into";
    return (folder / "libnccl.so.2").string();
  }

  fs::path program() const { return environment_ / "bin/isthmus-worker"; }

  fs::path environment_;
};

TEST_F(NcclPlacesTest, OfTheSystemWhereThereIsNoPython) {
  EXPECT_THAT(NcclPlaces(program()), ElementsAre("libnccl.so.2"));
  fs::create_directories(environment_ / "lib/python3.11/site-packages/torch");
  EXPECT_THAT(NcclPlaces(program()), ElementsAre("libnccl.so.2"));
}

TEST_F(NcclPlacesTest, ThenOfTheEnvironmentThatTheProgramIsIn) {
  const std::string debians = Install("python3.11/dist-packages");
  const std::string pips = Install("python3.13/site-packages");
  Install("elsewhere/site-packages");
  EXPECT_THAT(NcclPlaces(program()), ElementsAre("libnccl.so.2", debians, pips));
}

TEST_F(NcclPlacesTest, NothingIsKnownOfAProgramWithoutAPath) {
  EXPECT_THAT(NcclPlaces(fs::path()), ElementsAre("libnccl.so.2"));
}

}  // namespace
}  // namespace isthmus
