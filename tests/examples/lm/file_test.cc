#include "examples/lm/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <future>

namespace isthmus::lm {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    char name[] = "/tmp/isthmus-lm-file-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~FileTest() override { std::filesystem::remove_all(folder_); }
  std::string In(const char* name) const { return folder_ + "/" + name; }
  static std::string Read(const std::string& path) { return *ReadFile(path, 1000); }

  std::string folder_;
};

TEST_F(FileTest, IsReplacedAsAWhole) {
  ASSERT_TRUE(WriteFile(In("a"), "first").ok());
  ASSERT_TRUE(WriteFile(In("a"), "second").ok());
  EXPECT_EQ(Read(In("a")), "second");
  EXPECT_FALSE(std::filesystem::exists(In("a.tmp")));
}

TEST_F(FileTest, ASymbolicLinkStaysOne) {
  ASSERT_TRUE(WriteFile(In("a"), "first").ok());
  std::filesystem::create_symlink(In("a"), In("link"));
  ASSERT_TRUE(WriteFile(In("link"), "second").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(In("link")));
  EXPECT_EQ(Read(In("a")), "second");
}

TEST_F(FileTest, APipeIsWrittenToAndStaysOne) {
  ASSERT_EQ(::mkfifo(In("pipe").c_str(), 0600), 0);
  std::future<std::string> read = std::async(std::launch::async, [this] {
    std::string got(7, '\0');
    FILE* const pipe = std::fopen(In("pipe").c_str(), "r");
    got.resize(std::fread(got.data(), 1, got.size(), pipe));
    std::fclose(pipe);
    return got;
  });
  EXPECT_TRUE(CheckWritable(In("pipe")).ok());
  ASSERT_TRUE(WriteFile(In("pipe"), "through").ok());
  EXPECT_EQ(read.get(), "through");
  EXPECT_TRUE(std::filesystem::is_fifo(In("pipe")));
}

TEST_F(FileTest, WhatCannotBeWrittenIsKnownBefore) {
  EXPECT_TRUE(CheckWritable(In("new")).ok());
  EXPECT_FALSE(std::filesystem::exists(In("new")));
  for (const std::string& path : {In("nowhere/a"), folder_}) {
    EXPECT_THAT(std::string(CheckWritable(path).message()), HasSubstr("cannot write " + path));
    EXPECT_FALSE(WriteFile(path, "a").ok());
  }
}

}  // namespace
}  // namespace isthmus::lm
