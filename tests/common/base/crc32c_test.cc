#include "common/base/crc32c.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "common/base/crc32c_internal.h"
#include "common/base/rng.h"

namespace isthmus {
namespace {

std::vector<std::byte> Bytes(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(Crc32cTest, Rfc3720Vectors) {
  std::vector<std::byte> ascending;
  for (int i = 0; i < 32; ++i) ascending.push_back(static_cast<std::byte>(i));
  const std::vector<std::byte> descending(ascending.rbegin(), ascending.rend());
  EXPECT_EQ(Crc32c(std::vector<std::byte>(32)), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(Crc32c(descending), 0x113fdb5cu);
  // An iSCSI read command.
  EXPECT_EQ(Crc32c(Bytes({0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,     //
                          0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,  //
                          0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0})),
            0xd9963a56u);
}

TEST(Crc32cTest, KnownText) {
  constexpr std::string_view kText = "123456789";
  EXPECT_EQ(Crc32c(std::as_bytes(std::span(kText))), 0xe3069283u);
  EXPECT_EQ(Crc32c({}), 0u);
}

TEST(Crc32cTest, InstructionEqualsTableAtEveryLengthAndAlignment) {
  if (!internal::HasCrc32cInstruction()) GTEST_SKIP() << "this CPU has no such instruction";
  Rng rng(1);
  std::vector<std::byte> data(300);
  for (std::byte& byte : data) byte = static_cast<std::byte>(rng());
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t n = 0; begin + n <= data.size(); ++n) {
      const auto part = std::span<const std::byte>(data).subspan(begin, n);
      const auto crc = static_cast<uint32_t>(rng());
      ASSERT_EQ(internal::ExtendCrc32cInstruction(crc, part),
                internal::ExtendCrc32cTable(crc, part))
          << begin << " " << n;
    }
  }
}

TEST(Crc32cTest, ExtendingIsTheChecksumOfTheWhole) {
  Rng rng(2);
  std::vector<std::byte> data(100);
  for (std::byte& byte : data) byte = static_cast<std::byte>(rng());
  const std::span<const std::byte> all(data);
  for (size_t n = 0; n <= data.size(); ++n) {
    EXPECT_EQ(ExtendCrc32c(Crc32c(all.first(n)), all.subspan(n)), Crc32c(all));
  }
}

}  // namespace
}  // namespace isthmus
