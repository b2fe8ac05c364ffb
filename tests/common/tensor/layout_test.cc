#include "common/tensor/layout.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TensorSpec Tensor(std::string name, std::vector<int64_t> shape, uint32_t group = 0) {
  return {std::move(name), std::move(shape), DType::kFloat32, group};
}

Layout Make(std::vector<TensorSpec> tensors, std::vector<ConstantSpec> constants = {}) {
  const absl::StatusOr<Layout> layout = Layout::Create(std::move(tensors), std::move(constants));
  EXPECT_TRUE(layout.ok()) << layout.status();
  return *layout;
}

void ExpectRefused(const std::string& words, std::vector<TensorSpec> tensors,
                   std::vector<ConstantSpec> constants = {}) {
  const absl::Status status = Layout::Create(std::move(tensors), std::move(constants)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST(LayoutTest, P1_TensorsStartAligned) {
  const Layout layout = Make({Tensor("a", {3, 5}), Tensor("b", {64}), Tensor("c", {})});
  EXPECT_THAT(layout.offsets(), ElementsAre(0, 64, 128));
  EXPECT_THAT(layout.counts(), ElementsAre(15, 64, 1));
  EXPECT_EQ(layout.length(), 4096u);
  EXPECT_EQ(layout.logical_length(), 80u);
}

TEST(LayoutTest, P1_LengthIsAWholeNumberOfUnits) {
  EXPECT_EQ(Make({Tensor("a", {4096})}).length(), 4096u);
  EXPECT_EQ(Make({Tensor("a", {4097})}).length(), 8192u);
  EXPECT_EQ(Make({Tensor("a", {4032}), Tensor("b", {65})}).length(), 8192u);
}

TEST(LayoutTest, P1_SegmentsTileTheVector) {
  const Layout layout = Make(
      {Tensor("a", {10}, 1), Tensor("b", {10}, 1), Tensor("c", {10}, 0), Tensor("d", {10}, 1)});
  ASSERT_EQ(layout.segments().size(), 3u);
  EXPECT_EQ(layout.parameter_groups(), 2u);
  uint64_t end = 0;
  for (const Layout::Segment& segment : layout.segments()) {
    EXPECT_EQ(segment.begin, end);
    end = segment.end;
  }
  EXPECT_EQ(end, layout.length());
  EXPECT_EQ(layout.segments()[0].end, 128u);
  EXPECT_EQ(layout.segments()[1].parameter_group, 0u);
}

TEST(LayoutTest, P1_ConstantsAreApart) {
  const Layout layout = Make({Tensor("a", {1})}, {{"x", 1}, {"y", 0}, {"z", 65}});
  EXPECT_THAT(layout.constant_offsets(), ElementsAre(0, 64, 64));
  EXPECT_EQ(layout.constants_bytes(), 192u);
  EXPECT_EQ(layout.length(), 4096u);
}

TEST(LayoutTest, RefusesNoTensors) { ExpectRefused("at least one tensor", {}); }

TEST(LayoutTest, RefusesTooManyTensorsOrConstants) {
  std::vector<TensorSpec> tensors;
  std::vector<ConstantSpec> constants;
  for (uint64_t i = 0; i <= kMaxTensors; ++i) {
    tensors.push_back(Tensor(absl::StrCat("t", i), {1}));
    constants.push_back({absl::StrCat("c", i), 1});
  }
  ExpectRefused("at most 65536 tensors", tensors);
  ExpectRefused("at most 65536 tensors", {Tensor("a", {1})}, constants);
  tensors.pop_back();
  EXPECT_EQ(Make(tensors).tensors().size(), kMaxTensors);
}

// So that a layout always fits into one message.
TEST(LayoutTest, RefusesTooManyBytesOfNames) {
  const auto name = [](uint64_t i) { return absl::StrCat(std::string(250, 'n'), 100000 + i); };
  std::vector<TensorSpec> tensors;
  for (uint64_t i = 0; i < kMaxNamesBytes / 256; ++i) tensors.push_back(Tensor(name(i), {1}));
  EXPECT_EQ(Make(tensors).tensors().size(), 16384u);
  ExpectRefused(
      "names of 16384 tensors and 1 constants: expected at most 4194304 bytes in all, got 4194305",
      tensors, {{"c", 1}});
}

TEST(LayoutTest, RefusesBadNames) {
  ExpectRefused("1 to 256 bytes, got 0", {Tensor("", {1})});
  ExpectRefused("1 to 256 bytes, got 257", {Tensor(std::string(257, 'n'), {1})});
  ExpectRefused("'a' is taken", {Tensor("a", {1}), Tensor("a", {1})});
  ExpectRefused("'a' is taken", {Tensor("a", {1})}, {{"a", 1}});
  ExpectRefused("constant 0", {Tensor("a", {1})}, {{"", 1}});
}

TEST(LayoutTest, RefusesBadShapes) {
  ExpectRefused("empty, negative or beyond", {Tensor("a", {2, -1})});
  ExpectRefused("empty, negative or beyond", {Tensor("a", {0})});
  ExpectRefused("empty, negative or beyond", {Tensor("a", {int64_t{1} << 40, 2})});
  ExpectRefused("empty, negative or beyond", {Tensor("a", {INT64_MAX, INT64_MAX, INT64_MAX})});
  ExpectRefused("at most 16 dimensions, got 17", {Tensor("a", std::vector<int64_t>(17, 1))});
  ExpectRefused("grows beyond", {Tensor("a", {int64_t{1} << 40}), Tensor("b", {1})});
}

TEST(LayoutTest, RefusesParameterGroupsOutOfBounds) {
  ExpectRefused("parameter group 64, expected below 64", {Tensor("a", {1}, 64)});
  EXPECT_EQ(Make({Tensor("a", {1}, 63)}).parameter_groups(), 64u);
}

TEST(LayoutTest, RefusesTooManyConstantBytes) {
  ExpectRefused("constants grow beyond", {Tensor("a", {1})}, {{"x", kMaxConstantBytes + 1}});
  ExpectRefused("constants grow beyond", {Tensor("a", {1})},
                {{"x", kMaxConstantBytes / 2}, {"y", kMaxConstantBytes / 2}});
}

TEST(LayoutTest, DifferenceNamesTensorExpectedAndActual) {
  const Layout layout = Make({Tensor("a", {2, 3})}, {{"x", 8}});
  EXPECT_EQ(layout.DifferenceFrom(Make({Tensor("a", {2, 3})}, {{"x", 8}})), "");
  EXPECT_EQ(layout.DifferenceFrom(Make({Tensor("b", {6})}, {{"x", 8}})),
            "tensor 0: expected 'a' [2, 3] in parameter group 0, got 'b' [6] in parameter group 0");
  EXPECT_THAT(layout.DifferenceFrom(Make({Tensor("a", {2, 3}), Tensor("b", {1})})),
              HasSubstr("expected 1 tensors, got 2"));
  EXPECT_THAT(layout.DifferenceFrom(Make({Tensor("a", {2, 3})}, {{"x", 9}})),
              HasSubstr("constant 0: expected 'x' of 8 bytes, got 'x' of 9"));
  EXPECT_THAT(layout.DifferenceFrom(Make({Tensor("a", {2, 3})})),
              HasSubstr("expected 1 constants, got 0"));
}

// Masters are float32 everywhere, so sites may train in different types.
TEST(LayoutTest, WhatTheJobHoldsMakesNoDifference) {
  TensorSpec half = Tensor("a", {2, 3});
  half.dtype = DType::kBFloat16;
  EXPECT_EQ(Make({half}).DifferenceFrom(Make({Tensor("a", {2, 3})})), "");
}

// The coordinator hears names as a protobuf string, and would not parse a layout with any other.
TEST(LayoutTest, NamesAreUtf8) {
  const auto create = [](const std::string& name) {
    return Layout::Create({Tensor("w", {1})}, {{name, 1}}).status();
  };
  for (const char* name :
       {"plain", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbf",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "gr\xc3\xb6\xc3\x9f"}) {
    EXPECT_TRUE(create(name).ok()) << create(name);
  }
  for (const char* name : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xe0\x9f\xbf",
                           "\xed\xa0\x80", "\xe1\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                           "\xf5\x80\x80\x80", "\xf1\x80\x80z", "\xff", "tail\xe1\x80"}) {
    EXPECT_EQ(create(name).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(create("a\x80").message(), "constant 0: the name 'a\\x80' is not UTF-8");
}

}  // namespace
}  // namespace isthmus
