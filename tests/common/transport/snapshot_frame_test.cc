#include "common/transport/snapshot_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

SnapshotPiece Piece() {
  return {.transfer = TransferId(4),
          .sequence = Sequence(9),
          .round = Round(3),
          .total_bytes = 100,
          .data = "data",
          .applied_rounds = {Round(3), Round(4)},
          .totals = {30, 4000}};
}

TEST(SnapshotFrameTest, PiecesRoundTrip) {
  v1::SnapshotFrame frame;
  ToFrame(Piece(), &frame);
  const auto piece = FromFrame(frame);
  ASSERT_TRUE(piece.ok()) << piece.status();
  EXPECT_EQ(piece->transfer, TransferId(4));
  EXPECT_EQ(piece->sequence, Sequence(9));
  EXPECT_EQ(piece->round, Round(3));
  EXPECT_EQ(piece->total_bytes, 100u);
  EXPECT_EQ(piece->offset, 0u);
  EXPECT_EQ(piece->data, "data");
  EXPECT_THAT(piece->applied_rounds, testing::ElementsAre(Round(3), Round(4)));
  EXPECT_EQ(piece->totals, (RunTotals{30, 4000}));
}

TEST(SnapshotFrameTest, RefusesDamagedData) {
  v1::SnapshotFrame frame;
  ToFrame(Piece(), &frame);
  frame.set_data("dbta");
  const absl::Status status = FromFrame(frame).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "snapshot 4: wrong checksum at 0");
}

}  // namespace
}  // namespace isthmus
