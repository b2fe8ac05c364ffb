#include "server/rpc/ready_request.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/tensor/layout.h"
#include "common/transport/convert.h"
#include "common/transport/endpoints.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

// In slices of `slice_bytes`, as the network may cut it.
absl::StatusOr<v1::ReadyRequest> Decode(const std::string& bytes, size_t slice_bytes = 1 << 14) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < bytes.size(); i += slice_bytes) {
    slices.emplace_back(bytes.substr(i, slice_bytes));
  }
  if (slices.empty()) slices.emplace_back();
  return DecodeReady(grpc::ByteBuffer(slices.data(), slices.size()));
}

void ExpectRefused(const std::string& bytes, const std::string& words) {
  const auto request = Decode(bytes);
  ASSERT_FALSE(request.ok());
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(request.status().message()), HasSubstr(words));
}

v1::ReadyRequest Request(const Layout& layout) {
  v1::ReadyRequest request;
  request.mutable_identity()->set_group_id(3);
  request.mutable_identity()->set_incarnation(~uint64_t{0});
  ToProto(layout, request.mutable_layout());
  request.set_change(300);
  return request;
}

// As many entries and as long names as a layout may have.
Layout LargestLayout() {
  std::vector<TensorSpec> tensors;
  std::vector<ConstantSpec> constants;
  for (uint64_t i = 0; i < kMaxTensors; ++i) {
    const std::string name = absl::StrCat(std::string(26, 'n'), 100000 + i);
    tensors.push_back({name, std::vector<int64_t>(16, 1), DType::kBFloat16, 63});
    tensors.back().shape[0] = 1 << 23;
    constants.push_back({name, 1 << 23});
    constants.back().name[0] = 'c';
  }
  return Layout::Create(tensors, constants).value();
}

TEST(ReadyRequestTest, DecodesWhatWasSentHoweverItIsCut) {
  const Layout layout = Layout::Create({{"a", {2, 3}}, {"b", {}}}, {{"c", 7}}).value();
  const std::string bytes = Request(layout).SerializeAsString();
  for (const size_t slice_bytes : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, bytes.size()}) {
    const auto request = Decode(bytes, slice_bytes);
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_EQ(request->SerializeAsString(), bytes);
  }
  EXPECT_TRUE(Decode("").ok());
}

TEST(ReadyRequestTest, TheLargestLayoutFitsIntoAMessage) {
  const Layout layout = LargestLayout();
  const std::string bytes = Request(layout).SerializeAsString();
  EXPECT_LT(bytes.size(), static_cast<size_t>(kMaxMessageBytes));
  const auto request = Decode(bytes);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(FromProto(request->layout()).value().DifferenceFrom(layout), "");
}

TEST(ReadyRequestTest, MoreEntriesThanALayoutMayHaveAreNotDecoded) {
  const std::string tensor("\x0a\x00", 2);        // empty
  std::string layout("\x12\x80\x80\x80\x03", 5);  // 6 MiB of
  for (int i = 0; i < 3 << 20; ++i) layout += tensor;
  ExpectRefused(layout,
                "expected at most 65536 tensors and as many constants, got more than 131072");
  // Protobuf would merge several layouts into one.
  std::string many;
  for (uint64_t i = 0; i <= 2 * kMaxTensors; ++i) many += std::string("\x12\x02", 2) + tensor;
  ExpectRefused(many, "got more than 131072");
}

TEST(ReadyRequestTest, RefusesWhatIsNoReadyRequest) {
  const std::string bytes = Request(Layout::Create({{"a", {2}}}, {}).value()).SerializeAsString();
  ExpectRefused(bytes.substr(0, bytes.size() - 1), "expected an encoded ReadyRequest");
  ExpectRefused(std::string("\x12\x05\x0a", 3), "expected an encoded ReadyRequest");
  ExpectRefused(std::string("\x12\xff\xff\xff\xff\x0f\x0a\x00", 8), "expected an encoded");
  ExpectRefused(std::string("\x13\x14", 2), "expected an encoded ReadyRequest");  // a group
  ExpectRefused(std::string("\x00", 1), "expected an encoded ReadyRequest");
}

}  // namespace
}  // namespace isthmus
