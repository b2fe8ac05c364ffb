#include "common/program/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace isthmus {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class OutputFileTest : public ::testing::Test {
 protected:
  OutputFileTest() {
    std::string pattern = ::testing::TempDir() + "output_file_test_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~OutputFileTest() override { fs::remove_all(directory_); }

  std::string Path(const char* name) const { return directory_ + "/" + name; }
  std::string Read(const std::string& path) const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  size_t Files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(directory_), {}));
  }

  std::string directory_;
};

TEST_F(OutputFileTest, IsWrittenWholeAndLeavesNothingElse) {
  const std::string text(3 << 20, 'x');
  ASSERT_TRUE(WriteOutputFile(Path("out"), "former").ok());
  ASSERT_TRUE(WriteOutputFile(Path("out"), text).ok());
  EXPECT_EQ(Read(Path("out")), text);
  EXPECT_EQ(Files(), 1u);
}

TEST_F(OutputFileTest, AFullDiskIsAnError) {
  const absl::Status status = WriteOutputFile("/dev/full", "text");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "cannot write /dev/full: No space left on device");
  EXPECT_FALSE(fs::is_regular_file("/dev/full"));
}

// The system takes what fits, then nothing: a write that comes up short is no success, and what was
// there before stays.
TEST_F(OutputFileTest, AShortWriteLeavesTheFormerFile) {
  ASSERT_TRUE(WriteOutputFile(Path("out"), "former").ok());
  rlimit former{};
  getrlimit(RLIMIT_FSIZE, &former);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit low = former;
  low.rlim_cur = 1000;
  setrlimit(RLIMIT_FSIZE, &low);
  const absl::Status status = WriteOutputFile(Path("out"), std::string(5000, 'x'));
  setrlimit(RLIMIT_FSIZE, &former);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(std::string(status.message()), HasSubstr("File too large"));
  EXPECT_EQ(Read(Path("out")), "former");
  EXPECT_EQ(Files(), 1u);
}

TEST_F(OutputFileTest, PlacesThatAreNoneAreRefusedBeforeAndAfter) {
  for (const std::string& path : {Path("no/such/directory"), directory_, std::string()}) {
    EXPECT_EQ(CheckOutputFile(path).code(), absl::StatusCode::kUnavailable) << path;
    EXPECT_EQ(WriteOutputFile(path, "x").code(), absl::StatusCode::kUnavailable) << path;
  }
  EXPECT_TRUE(CheckOutputFile(Path("out")).ok());
  EXPECT_EQ(Files(), 0u);
}

TEST_F(OutputFileTest, ASymbolicLinkStaysOne) {
  ASSERT_TRUE(WriteOutputFile(Path("target"), "former").ok());
  fs::create_symlink(Path("target"), Path("link"));
  ASSERT_TRUE(WriteOutputFile(Path("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(Path("link")));
  EXPECT_EQ(Read(Path("target")), "new");
}

}  // namespace
}  // namespace isthmus
