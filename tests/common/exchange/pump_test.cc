#include "common/exchange/pump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct FakeMessage {
  std::string text;
  bool ask = false;
  uint64_t bytes = 0;
  absl::Duration idle;
  uint64_t ByteSizeLong() const { return bytes; }
  void Clear() { *this = FakeMessage(); }
};

FakeMessage Short(std::string text) { return {std::move(text)}; }

// One large thing, by name.
class FakeLane : public FrameLane<FakeMessage> {
 public:
  explicit FakeLane(std::string name) : name_(std::move(name)) {}
  void Put(uint64_t bytes) { left_ += bytes; }
  absl::StatusOr<bool> Next(const FrameOrder& order, FakeMessage* message) override {
    if (!error.ok()) return error;
    if (left_ == 0) return false;
    EXPECT_EQ(message->text, "");  // nothing is left of the last one
    const uint64_t size = std::min(order.most_bytes, left_);
    *message = {name_, order.ask, size, order.idle};
    left_ -= size;
    return true;
  }
  absl::StatusOr<bool> Wait() override {
    if (!wait_error.ok()) return wait_error;
    return left_ > 0;
  }
  absl::Status error;
  absl::Status wait_error;

 private:
  const std::string name_;
  uint64_t left_ = 0;
};

class ManualClock : public Clock {
 public:
  absl::Time Now() const override { return now; }
  absl::Time now = absl::UnixEpoch();
};

class PumpTest : public ::testing::Test, protected FrameWriter<FakeMessage> {
 protected:
  void BeginWrite(const FakeMessage& message) override {
    EXPECT_FALSE(in_flight_) << "two writes at a time";
    in_flight_ = true;
    written_.push_back(message.text);
    last_ = message;
  }
  void OnPumpFailed(const absl::Status& status) override {
    pump_.Stop();  // must not wait for a lock that the pump holds
    failures_.push_back(status);
  }
  void Finish(bool ok = true) {
    in_flight_ = false;
    pump_.Written(ok);
  }
  void FinishAll() {
    while (in_flight_) Finish();
  }

  ManualClock clock_;
  FakeLane parts_{"part"};
  FakeLane snapshot_{"snapshot"};
  FramePump<FakeMessage> pump_{this, {&parts_, &snapshot_}, clock_, 3};
  bool in_flight_ = false;
  FakeMessage last_;
  std::vector<std::string> written_;
  std::vector<absl::Status> failures_;
};

TEST_F(PumpTest, OneWriteAtATimeShortOnesFirstThenLanesInOrder) {
  pump_.Change([&] { snapshot_.Put(3000); });
  pump_.Change([&] { parts_.Put(5000); });
  pump_.Send(Short("a"));
  pump_.Send(Short("b"));
  EXPECT_THAT(written_, ElementsAre("snapshot"));  // was first to come
  FinishAll();
  EXPECT_THAT(written_, ElementsAre("snapshot", "a", "b", "part", "part"));
}

TEST_F(PumpTest, AShortMessageWaitsForOneFrameAtMost) {
  pump_.Change([&] { parts_.Put(9000); });
  Finish();
  pump_.Send(Short("urgent"));
  Finish();
  EXPECT_THAT(written_, ElementsAre("part", "part", "urgent"));
  EXPECT_EQ(pump_.writing().text, "urgent");
}

TEST_F(PumpTest, P24_FramesKeepWithinTheWindowShortMessagesDoNot) {
  pump_.Change([&] { parts_.Put(1 << 20); });
  FinishAll();
  EXPECT_THAT(written_, ElementsAre("part", "part", "part", "part"));
  const FakeMessage frame = last_;
  EXPECT_TRUE(frame.ask) << "nobody would say when there is room";
  pump_.Send(Short("ack"));
  FinishAll();
  EXPECT_EQ(written_.back(), "ack");
  pump_.Acked(frame.bytes, absl::Milliseconds(1));
  EXPECT_TRUE(in_flight_);
  EXPECT_EQ(written_.back(), "part");
}

TEST_F(PumpTest, P24a_AFrameTellsForHowLongThereWasNothingToSend) {
  pump_.Change([&] { parts_.Put(6000); });
  EXPECT_EQ(last_.idle, absl::InfiniteDuration()) << "the first of all";
  clock_.now += absl::Milliseconds(3);
  Finish();  // took three milliseconds to write, while the next one waited
  EXPECT_EQ(last_.idle, absl::ZeroDuration());
  Finish();
  clock_.now += absl::Milliseconds(5);
  pump_.Send(Short("no frame"));
  Finish();
  clock_.now += absl::Milliseconds(2);
  pump_.Change([&] { parts_.Put(1000); });
  EXPECT_EQ(last_.idle, absl::Milliseconds(7));
}

TEST_F(PumpTest, P24a_WhatTheWindowHoldsBackIsNotIdle) {
  pump_.Change([&] { parts_.Put(1 << 20); });
  FinishAll();
  const FakeMessage frame = last_;
  clock_.now += absl::Milliseconds(40);
  pump_.Acked(frame.bytes, absl::Milliseconds(1));
  EXPECT_TRUE(in_flight_);
  EXPECT_EQ(last_.idle, absl::ZeroDuration());
}

TEST_F(PumpTest, P24a_AFullWindowWithNothingWaitingIsIdle) {
  pump_.Change([&] { parts_.Put(4 * 4032); });
  FinishAll();
  const FakeMessage frame = last_;
  clock_.now += absl::Milliseconds(40);
  pump_.Acked(4 * frame.bytes, absl::Milliseconds(1));
  clock_.now += absl::Milliseconds(10);
  pump_.Change([&] { parts_.Put(1000); });
  EXPECT_EQ(last_.idle, absl::Milliseconds(50));
}

TEST_F(PumpTest, NothingIsWrittenAfterStop) {
  pump_.Send(Short("a"));
  pump_.Send(Short("b"));
  pump_.Stop();
  Finish();
  pump_.Send(Short("c"));
  pump_.Change([&] { parts_.Put(10); });
  EXPECT_THAT(written_, ElementsAre("a"));
  EXPECT_THAT(failures_, IsEmpty());
}

TEST_F(PumpTest, NothingIsWrittenAfterAWriteThatFailed) {
  pump_.Send(Short("a"));
  pump_.Send(Short("b"));
  Finish(false);
  pump_.Poke();
  EXPECT_THAT(written_, ElementsAre("a"));
}

TEST_F(PumpTest, ALanesErrorEndsTheStreamOnce) {
  parts_.error = absl::ResourceExhaustedError("too slow");
  pump_.Poke();
  pump_.Poke();
  ASSERT_EQ(failures_.size(), 1u);
  EXPECT_EQ(failures_[0].message(), "too slow");
  EXPECT_THAT(written_, IsEmpty());
}

TEST_F(PumpTest, WhoNeverAcknowledgesIsFoundOut) {
  pump_.Change([&] { parts_.Put(1 << 20); });
  FinishAll();
  pump_.Poke();
  EXPECT_THAT(failures_, IsEmpty());
  parts_.wait_error = absl::ResourceExhaustedError("too slow");
  pump_.Poke();
  ASSERT_EQ(failures_.size(), 1u);
}

TEST_F(PumpTest, ShortMessagesAreBounded) {
  pump_.Send(Short("writing"));
  for (int i = 0; i < 3; ++i) pump_.Send(Short("waits"));
  Finish();
  EXPECT_THAT(failures_, IsEmpty());
  for (int i = 0; i < 2; ++i) pump_.Send(Short("waits"));
  Finish();
  ASSERT_EQ(failures_.size(), 1u);
  EXPECT_EQ(failures_[0].code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(failures_[0].message(), "the peer does not read");
}

// Writes are over on threads of their own, perhaps before the one that began them is back.
class RacingWriter : public FrameWriter<FakeMessage> {
 public:
  // Once nothing is begun any more.
  void Join() {
    for (std::thread& thread : threads) thread.join();
  }
  void BeginWrite(const FakeMessage& message) override {
    EXPECT_EQ(in_flight.exchange(true), false);
    if (!message.text.empty()) ++written;
    threads.emplace_back([this] {
      in_flight = false;
      pump->Written(true);
    });
  }
  void OnPumpFailed(const absl::Status& status) override { ADD_FAILURE() << status; }
  FramePump<FakeMessage>* pump = nullptr;
  std::atomic<bool> in_flight = false;
  std::atomic<int> written = 0;
  std::vector<std::thread> threads;  // grows under the pump's lock
};

TEST(PumpThreadsTest, AllIsWrittenWhateverThreadsDo) {
  RacingWriter writer;
  FramePump<FakeMessage> pump(&writer, {});
  writer.pump = &pump;
  std::vector<std::thread> senders;
  for (int t = 0; t < 4; ++t) {
    senders.emplace_back([&] {
      for (int i = 0; i < 50; ++i) pump.Send({"x"});
    });
  }
  for (std::thread& thread : senders) thread.join();
  while (writer.written < 200) std::this_thread::yield();
  pump.Stop();  // waits for who begins to write
  writer.Join();
  EXPECT_EQ(writer.written, 200);
}

}  // namespace
}  // namespace isthmus
