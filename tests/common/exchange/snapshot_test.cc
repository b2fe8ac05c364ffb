#include "common/exchange/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "common/run/update.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kWindow = 3 * kFrameBytes;
constexpr TransferId kTransfer{4};

std::string Bytes(uint64_t size, uint64_t seed = 1) {
  Rng rng(size * 31 + seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng());
  return bytes;
}

OutgoingSnapshot::State StateOf(const std::string& image) {
  return {Sequence(9), Round(3), {Round(3), Round(4)}, {image}, HashBlocks(image), {30, 4000}};
}

// A donor of `image`, to whom a joiner has said that it holds `held`.
OutgoingSnapshot Outgoing(const std::string& image, const std::string& held,
                          TransferId transfer = kTransfer, uint64_t window = kWindow) {
  OutgoingSnapshot out(transfer, window);
  out.SetState(StateOf(image));
  out.SetHeld(HashBlocks(held));
  return out;
}

void Hold(IncomingSnapshot& in, const std::string& state, TransferId transfer = kTransfer) {
  ASSERT_TRUE(in.Offered(transfer, state.size()));
  in.SetHeld(transfer, {state}, HashBlocks(state));
}

struct Relayed {
  std::optional<WholeSnapshot> whole;
  uint64_t bytes = 0;
  uint64_t pieces = 0;
};

// As far as `most` bytes.
Relayed Relay(OutgoingSnapshot& out, IncomingSnapshot& in, uint64_t state_bytes,
              uint64_t most = ~uint64_t{0}) {
  Relayed relayed;
  while (relayed.bytes < most) {
    auto piece = out.Next(kFrameBytes);
    if (!piece) break;
    EXPECT_FALSE(relayed.whole.has_value());
    relayed.bytes += piece->data.size();
    ++relayed.pieces;
    auto added = in.Add(*std::move(piece), state_bytes);
    EXPECT_TRUE(added.ok()) << added.status();
    if (!added.ok()) break;
    if (*added) relayed.whole = std::move(*added);
    out.Taken(relayed.bytes);
  }
  return relayed;
}

TEST(SnapshotTest, P15_PiecesMakeTheStateAgain) {
  for (uint64_t size : {uint64_t{1}, kFrameBytes - 1, kFrameBytes, kFrameBytes + 1, 5 * kFrameBytes,
                        10 * kFrameBytes + 17}) {
    const std::string image = Bytes(size);
    OutgoingSnapshot out = Outgoing(image, "");
    IncomingSnapshot in;
    Hold(in, std::string(size, '\0'));
    const Relayed relayed = Relay(out, in, size);
    ASSERT_TRUE(relayed.whole.has_value()) << size;
    EXPECT_EQ(relayed.bytes, size);
    EXPECT_EQ(relayed.whole->image->bytes, image);
    EXPECT_EQ(relayed.whole->transfer, kTransfer);
    EXPECT_EQ(relayed.whole->sequence, Sequence(9));
    EXPECT_THAT(relayed.whole->applied_rounds, ElementsAre(Round(3), Round(4)));
    EXPECT_EQ(relayed.whole->totals, (RunTotals{30, 4000}));
    EXPECT_FALSE(out.Next(kFrameBytes).has_value());
  }
}

TEST(SnapshotTest, P15_WhoHoldsTheSameIsSentNothing) {
  const std::string image = Bytes(100 * kFrameBytes + 5);
  OutgoingSnapshot out = Outgoing(image, image);
  IncomingSnapshot in;
  Hold(in, image);
  const Relayed relayed = Relay(out, in, image.size());
  ASSERT_TRUE(relayed.whole.has_value());
  EXPECT_EQ(relayed.bytes, 0u);
  EXPECT_EQ(relayed.pieces, 1u);
  EXPECT_EQ(relayed.whole->image->bytes, image);
  EXPECT_THAT(relayed.whole->applied_rounds, ElementsAre(Round(3), Round(4)));
}

TEST(SnapshotTest, P15_OnlyBlocksThatDifferAreSent) {
  const std::string image = Bytes(20 * kFrameBytes + 5);
  std::string held = image;
  for (const uint64_t at : {uint64_t{0}, 7 * kFrameBytes - 1, 20 * kFrameBytes + 4}) held[at] ^= 1;
  OutgoingSnapshot out = Outgoing(image, held);
  IncomingSnapshot in;
  Hold(in, held);
  const Relayed relayed = Relay(out, in, image.size());
  ASSERT_TRUE(relayed.whole.has_value());
  EXPECT_EQ(relayed.bytes, 2 * kFrameBytes + 5);
  EXPECT_EQ(relayed.whole->image->bytes, image);
}

// What tells the link's rate while the joiner looks what it has.
TEST(SnapshotTest, P15_BeforeTheDonorKnowsWhatIsHeldItSendsAFewPieces) {
  const std::string image = Bytes(4 * kFrameBytes);
  OutgoingSnapshot out(kTransfer, kWindow);
  out.SetState(StateOf(image));
  IncomingSnapshot in;
  ASSERT_TRUE(in.Offered(kTransfer, image.size()));
  uint64_t sent = 0;
  while (auto piece = out.Next(5000)) {
    sent += piece->data.size();
    const auto added = in.Add(*std::move(piece), image.size());
    ASSERT_TRUE(added.ok()) << added.status();
    EXPECT_FALSE(added->has_value());
  }
  EXPECT_EQ(sent, kBeforeHeldBytes);
  in.SetHeld(kTransfer, {image}, HashBlocks(image));
  out.SetHeld(*in.Held(kTransfer));
  const Relayed relayed = Relay(out, in, image.size());
  ASSERT_TRUE(relayed.whole.has_value());
  EXPECT_EQ(relayed.bytes, 0u);
  EXPECT_EQ(relayed.whole->image->bytes, image);
}

TEST(SnapshotTest, P15_WhatHadComeOfATransferThatBrokeOffIsNotSentAgain) {
  const std::string image = Bytes(50 * kFrameBytes);
  IncomingSnapshot in;
  Hold(in, std::string(image.size(), '\0'));
  OutgoingSnapshot first = Outgoing(image, "");
  const uint64_t before = 20 * kFrameBytes + 1000;
  const Relayed cut = Relay(first, in, image.size(), before);
  EXPECT_FALSE(cut.whole.has_value());
  // Another transfer, perhaps over another stream; nothing is copied from the group's state.
  const TransferId next{7};
  EXPECT_FALSE(in.Offered(next, image.size()));
  OutgoingSnapshot second(next, kWindow);
  second.SetState(StateOf(image));
  second.SetHeld(*in.Held(next));
  // The old one's pieces may still be under way.
  const auto late = in.Add(*first.Next(kFrameBytes), image.size());
  ASSERT_TRUE(late.ok() && !late->has_value());
  const Relayed rest = Relay(second, in, image.size());
  ASSERT_TRUE(rest.whole.has_value());
  EXPECT_EQ(rest.whole->image->bytes, image);
  EXPECT_LE(cut.bytes + rest.bytes, image.size() + kFrameBytes);
}

TEST(OutgoingSnapshotTest, HasNoPieceBeforeItsState) {
  OutgoingSnapshot out(kTransfer, kWindow);
  EXPECT_FALSE(out.Next(kFrameBytes).has_value());
  out.SetHeld({});
  EXPECT_FALSE(out.Next(kFrameBytes).has_value());
  out.SetState(StateOf("x"));
  EXPECT_TRUE(out.Next(kFrameBytes).has_value());
  EXPECT_FALSE(out.Next(kFrameBytes).has_value());
}

TEST(OutgoingSnapshotTest, P15_StaysWithinTheWindow) {
  OutgoingSnapshot out = Outgoing(Bytes(20 * kFrameBytes), "");
  uint64_t sent = 0;
  uint64_t taken = 0;
  Rng rng(1);
  while (sent < 20 * kFrameBytes) {
    while (auto piece = out.Next(kFrameBytes)) {
      EXPECT_EQ(piece->offset, sent);
      EXPECT_LE(piece->data.size(), kFrameBytes);
      sent += piece->data.size();
      ASSERT_LE(sent, taken + kWindow);
    }
    taken += 1 + rng.Below(sent - taken);
    out.Taken(taken);
    out.Taken(taken / 2);     // an old one
    out.Taken(~uint64_t{0});  // nonsense opens no more than what was sent
    taken = sent;
  }
}

SnapshotPiece Piece(uint64_t offset, const std::string& data, uint64_t total) {
  return {kTransfer, Sequence(9), Round(3), total, offset, data, {}};
}

class IncomingSnapshotTest : public ::testing::Test {
 protected:
  void Refuse(IncomingSnapshot& in, SnapshotPiece piece, absl::StatusCode code,
              const std::string& words) {
    const auto added = in.Add(std::move(piece), kTotal);
    EXPECT_EQ(added.status().code(), code);
    EXPECT_THAT(std::string(added.status().message()), HasSubstr(words));
  }
  static constexpr uint64_t kTotal = 2 * kFrameBytes;
};

TEST_F(IncomingSnapshotTest, RefusesAnotherSize) {
  IncomingSnapshot in;
  Hold(in, Bytes(kTotal));
  Refuse(in, Piece(0, "abc", 7), absl::StatusCode::kInvalidArgument,
         "snapshot 4 of 7 bytes: expected 131072");
}

TEST_F(IncomingSnapshotTest, RefusesAnOverlapAnotherSequenceAndMoreThanTheState) {
  for (const SnapshotPiece& piece :
       {Piece(2, "cd", kTotal), Piece(kTotal - 1, "ef", kTotal), Piece(kTotal + 1, "", kTotal)}) {
    IncomingSnapshot in;
    Hold(in, Bytes(kTotal));
    ASSERT_TRUE(in.Add(Piece(0, "abc", kTotal), kTotal).ok());
    Refuse(in, piece, absl::StatusCode::kDataLoss, "expected update 9 at 3 or later");
  }
  IncomingSnapshot in;
  Hold(in, Bytes(kTotal));
  ASSERT_TRUE(in.Add(Piece(0, "abc", kTotal), kTotal).ok());
  SnapshotPiece other = Piece(3, "def", kTotal);
  other.sequence = Sequence(10);
  Refuse(in, other, absl::StatusCode::kDataLoss, "of update 10 at offset 3: expected update 9");
}

TEST_F(IncomingSnapshotTest, RefusesAWholeThatIsNotTheDonors) {
  const std::string image = Bytes(kTotal);
  IncomingSnapshot in;
  Hold(in, Bytes(kTotal, 2));
  SnapshotPiece piece = Piece(0, image.substr(0, kFrameBytes), kTotal);
  piece.last = true;  // the second block is not what the donor has
  piece.state_hash = StateHashOf(HashBlocks(image));
  Refuse(in, piece, absl::StatusCode::kDataLoss, "the whole is not the donor's state");
  // Nothing of it is held against the next.
  EXPECT_TRUE(in.Offered(TransferId(5), kTotal));
}

TEST_F(IncomingSnapshotTest, BoundsWhatComesBeforeItKnowsWhatItHolds) {
  IncomingSnapshot in;
  ASSERT_TRUE(in.Offered(kTransfer, kTotal));
  ASSERT_TRUE(in.Add(Piece(0, std::string(kBeforeHeldBytes, 'a'), kTotal), kTotal).ok());
  Refuse(in, Piece(kBeforeHeldBytes, "b", kTotal), absl::StatusCode::kDataLoss,
         "expected at most 49152 bytes before the donor knows what is held");
}

TEST_F(IncomingSnapshotTest, PassesOverWhatWasNotOfferedOrWasGivenUp) {
  IncomingSnapshot in;
  const auto passed_over = [&] {
    const auto added = in.Add(Piece(0, "abc", 7), kTotal);  // not even its size is looked at
    return added.ok() && !added->has_value();
  };
  EXPECT_TRUE(passed_over());
  Hold(in, Bytes(kTotal));
  EXPECT_FALSE(passed_over());
  in.Aborted(kTransfer);
  EXPECT_TRUE(passed_over());
  EXPECT_FALSE(in.Held(kTransfer).has_value());
}

}  // namespace
}  // namespace isthmus
