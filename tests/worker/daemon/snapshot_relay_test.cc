#include "worker/daemon/snapshot_relay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kWindow = 3 * kFrameBytes;

std::string Bytes(uint64_t size) {
  Rng rng(size);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng());
  return bytes;
}

OutgoingSnapshot Outgoing(uint64_t window = kWindow) {
  return {TransferId(4), Sequence(9), Round(3), {Round(3), Round(4)}, window};
}

SnapshotPiece Piece(uint64_t offset, const std::string& data, uint64_t total) {
  return {TransferId(4), Sequence(9), Round(3), total, offset, data, {}};
}

TEST(SnapshotRelayTest, P15_PiecesMakeTheImageAgain) {
  for (uint64_t size : {uint64_t{1}, kFrameBytes - 1, kFrameBytes, kFrameBytes + 1, 5 * kFrameBytes,
                        10 * kFrameBytes + 17}) {
    const std::string image = Bytes(size);
    OutgoingSnapshot out = Outgoing();
    out.SetImage({image});
    IncomingSnapshot in;
    std::optional<WholeSnapshot> whole;
    while (auto piece = out.Next()) {
      ASSERT_FALSE(whole.has_value()) << size;
      const uint64_t end = piece->offset + piece->data.size();
      auto added = in.Add(std::move(*piece), size);
      ASSERT_TRUE(added.ok()) << added.status();
      whole = std::move(*added);
      out.Acked(end);
    }
    ASSERT_TRUE(whole.has_value()) << size;
    EXPECT_EQ(whole->image->bytes, image);
    EXPECT_EQ(whole->transfer, TransferId(4));
    EXPECT_EQ(whole->sequence, Sequence(9));
    EXPECT_THAT(whole->applied_rounds, ElementsAre(Round(3), Round(4)));
  }
}

TEST(OutgoingSnapshotTest, HasNoPieceBeforeItsImage) {
  OutgoingSnapshot out = Outgoing();
  EXPECT_FALSE(out.Next().has_value());
  out.SetImage({"x"});
  EXPECT_TRUE(out.Next().has_value());
  EXPECT_FALSE(out.Next().has_value());
}

TEST(OutgoingSnapshotTest, P15_StaysWithinTheWindow) {
  OutgoingSnapshot out = Outgoing();
  out.SetImage({Bytes(20 * kFrameBytes)});
  uint64_t sent = 0;
  uint64_t acked = 0;
  Rng rng(1);
  while (sent < 20 * kFrameBytes) {
    while (auto piece = out.Next()) {
      EXPECT_EQ(piece->offset, sent);
      EXPECT_LE(piece->data.size(), kFrameBytes);
      sent += piece->data.size();
      ASSERT_LE(sent, acked + kWindow);
    }
    acked += 1 + rng.Below(sent - acked);
    out.Acked(acked);
    out.Acked(acked / 2);  // an old one
  }
}

TEST(IncomingSnapshotTest, APieceFromTheBeginningBeginsAnew) {
  IncomingSnapshot in;
  ASSERT_TRUE(in.Add(Piece(0, "abc", 6), 6).ok());
  ASSERT_TRUE(in.Add(Piece(0, "123", 6), 6).ok());
  const auto whole = in.Add(Piece(3, "456", 6), 6);
  ASSERT_TRUE(whole.ok() && whole->has_value());
  EXPECT_EQ((*whole)->image->bytes, "123456");
}

TEST(IncomingSnapshotTest, RefusesAnotherSize) {
  IncomingSnapshot in;
  const auto added = in.Add(Piece(0, "abc", 7), 6);
  EXPECT_EQ(added.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(added.status().message(), "snapshot 4 of 7 bytes: expected 6");
}

TEST(IncomingSnapshotTest, RefusesAGapAnOverlapAndAnotherTransfer) {
  const auto refused = [](SnapshotPiece piece) {
    IncomingSnapshot in;
    EXPECT_TRUE(in.Add(Piece(0, "abc", 6), 6).ok());
    const auto added = in.Add(std::move(piece), 6);
    EXPECT_EQ(added.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(added.status().message()), HasSubstr("expected snapshot 4 at 3"));
  };
  refused(Piece(4, "ef", 6));
  refused(Piece(2, "cd", 6));
  refused(Piece(3, "defg", 6));
  SnapshotPiece other = Piece(3, "def", 6);
  other.transfer = TransferId(5);
  refused(other);
  other = Piece(3, "def", 6);
  other.sequence = Sequence(10);
  refused(other);
}

TEST(IncomingSnapshotTest, NothingFollowsTheLastPiece) {
  IncomingSnapshot in;
  ASSERT_TRUE(in.Add(Piece(0, "abc", 3), 3).ok());
  EXPECT_EQ(in.Add(Piece(3, "d", 3), 3).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace isthmus
