#include "worker/rpc/update_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

using testing::HasSubstr;

std::string UpdateBytes(uint64_t payload_bytes) {
  v1::Update update;
  update.set_sequence(5);
  update.set_round(2);
  update.set_payload(std::string(payload_bytes, 'p'));
  return update.SerializeAsString();
}

v1::UpdateFrame Frame(const std::string& update, uint64_t offset, uint64_t size) {
  v1::UpdateFrame frame;
  frame.set_sequence(5);
  frame.set_update_bytes(update.size());
  frame.set_offset(offset);
  frame.set_data(update.substr(offset, size));
  if (offset == 0) frame.set_peer_wait_micros(1500);
  return frame;
}

void ExpectRefused(UpdateAssembler& assembler, const v1::UpdateFrame& frame,
                   const std::string& words) {
  const auto added = assembler.Add(frame);
  EXPECT_EQ(added.status().code(), absl::StatusCode::kDataLoss) << words;
  EXPECT_THAT(std::string(added.status().message()), HasSubstr(words));
}

TEST(UpdateAssemblerTest, P24_FramesMakeAnUpdateAndThenTheNext) {
  const std::string bytes = UpdateBytes(2 * kFrameBytes);
  UpdateAssembler assembler;
  for (int i = 0; i < 2; ++i) {
    uint64_t offset = 0;
    auto added = assembler.Add(Frame(bytes, offset, kFrameBytes));
    while (added.ok() && !added->has_value()) {
      offset += kFrameBytes;
      added = assembler.Add(Frame(bytes, offset, kFrameBytes));
    }
    ASSERT_TRUE(added.ok()) << added.status();
    EXPECT_EQ((*added)->SerializeAsString(), bytes);
    EXPECT_EQ(assembler.peer_wait(), absl::Microseconds(1500));
  }
}

TEST(UpdateAssemblerTest, AnEmptyFrameCompletesNoUpdateTwice) {
  const std::string bytes = UpdateBytes(10);
  UpdateAssembler assembler;
  ASSERT_TRUE(assembler.Add(Frame(bytes, 0, kFrameBytes)).value().has_value());
  ExpectRefused(assembler, Frame(bytes, bytes.size(), 0), "expected 5 at 0");
}

TEST(UpdateAssemblerTest, RefusesWhatIsOversize) {
  UpdateAssembler assembler(1000);
  v1::UpdateFrame frame = Frame(UpdateBytes(10), 0, 5);
  frame.set_update_bytes(1001);
  ExpectRefused(assembler, frame, "update 5 of 1001 bytes: expected at most 1000");
  frame.set_data(std::string(kFrameBytes + 1, 'x'));
  ExpectRefused(assembler, frame, "update frame 5 of 65537 bytes: expected at most 65536");
}

TEST(UpdateAssemblerTest, RefusesFramesOutOfOrder) {
  const std::string bytes = UpdateBytes(100);
  UpdateAssembler assembler;
  ExpectRefused(assembler, Frame(bytes, 50, 10), "expected 0 at 0");  // nothing was begun
  ASSERT_TRUE(assembler.Add(Frame(bytes, 0, 50)).ok());
  ExpectRefused(assembler, Frame(bytes, 51, 10), "update frame 5 at offset 51: expected 5 at 50");
  v1::UpdateFrame other = Frame(bytes, 50, 10);
  other.set_sequence(6);
  ExpectRefused(assembler, other, "update frame 6 at offset 50: expected 5 at 50");
  v1::UpdateFrame more = Frame(bytes, 50, bytes.size());
  more.mutable_data()->push_back('x');
  ExpectRefused(assembler, more, "expected 5 at 50");
}

TEST(UpdateAssemblerTest, RefusesBytesThatAreNotTheUpdateAnnounced) {
  const std::string bytes = UpdateBytes(10);
  UpdateAssembler assembler;
  v1::UpdateFrame frame = Frame(bytes, 0, bytes.size());
  frame.set_sequence(6);
  ExpectRefused(assembler, frame, "update 6 does not parse");
  frame = Frame(std::string(20, '\xff'), 0, 20);
  ExpectRefused(assembler, frame, "update 5 does not parse");
}

}  // namespace
}  // namespace isthmus
