#include "common/transport/status.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(StatusTest, CodesAndWordsRoundTrip) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "words");
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
  EXPECT_EQ(ToGrpc(absl::AbortedError("fenced")).error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ToGrpc(absl::DataLossError("crc")).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(FromGrpc({grpc::StatusCode::UNAUTHENTICATED, "who"}),
            absl::UnauthenticatedError("who"));
}

}  // namespace
}  // namespace isthmus
