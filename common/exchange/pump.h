// The sending half of an exchange stream, at either end: what waits, in which order it goes, one
// message at a time.
#ifndef ISTHMUS_COMMON_EXCHANGE_PUMP_H_
#define ISTHMUS_COMMON_EXCHANGE_PUMP_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/exchange/send_window.h"

namespace isthmus {

// How a lane is to make its next frame.
struct FrameOrder {
  uint64_t most_bytes = 0;  // of payload
  bool ask = false;         // for an acknowledgement
  absl::Duration
      idle;  // how long there was nothing to send before it, for the receiver's LinkMeter
};

// A lane of frames that are cut from something large when their turn comes, so that it is never
// copied whole. The pump calls it under its lock, and so must whoever changes it
// (FramePump::Change).
template <typename Message>
class FrameLane {
 public:
  virtual ~FrameLane() = default;
  // Makes the empty `message` a frame. False: there is nothing to send now. Errors end the stream.
  virtual absl::StatusOr<bool> Next(const FrameOrder& order, Message* message) = 0;
  // There is no room, and may be none for long; whether something waits for it. Errors end the
  // stream: what waited so long that it can no longer be sent.
  virtual absl::StatusOr<bool> Wait() = 0;
};

// What writes: gRPC's reactor of either end, or a test.
template <typename Message>
class FrameWriter {
 public:
  virtual ~FrameWriter() = default;
  // Begins to write `message`, which stays as it is until FramePump::Written(). Called under the
  // pump's lock: must return at once, and may not call back from within.
  virtual void BeginWrite(const Message& message) = 0;
  // A lane's error, or too much to say: nothing more is written. Once, without the lock.
  virtual void OnPumpFailed(const absl::Status& status) = 0;
};

// Short messages go first, in order; then what the first lane has, then the next one's, a frame at
// a time, so that a short message or a more urgent frame waits for one frame at most. Frames keep
// within a window (send_window.h); short messages do not count, since acknowledgements are among
// them: two ends that waited for each other's would wait for ever.
//
// `Message` is default-constructible and has ByteSizeLong() and Clear(), as protobuf's have.
// Thread-safe; calls return at once. Three flags keep threads apart:
// - `writing_`: a stream takes one write at a time, and says from another thread, perhaps before
//   BeginWrite() has returned, that it is done. Set under the lock before the write begins, so that
//   whoever comes meanwhile leaves what it has to that thread.
// - `stopped_`: nothing may be written to a stream that has been finished, or whose last write
//   failed. Stop() takes the lock: once it has returned, no write begins.
// - `failure` in Change(): the writer ends the stream outside the lock, where it may call Stop().
template <typename Message>
class FramePump {
 public:
  // Bound on short messages: each answers something bounded, so that more wait only for who does
  // not read.
  static constexpr size_t kMaxShort = 65536;

  // `writer` and `lanes`, most urgent first, outlive it.
  FramePump(FrameWriter<Message>* writer, std::vector<FrameLane<Message>*> lanes,
            const Clock& clock = Clock::Real(), size_t max_short = kMaxShort)
      : writer_(writer), lanes_(std::move(lanes)), clock_(clock), max_short_(max_short) {}

  void Send(Message message) {
    Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      if (!stopped_) short_.push_back(std::move(message));
    });
  }
  // Runs `change` on lanes under the lock, then goes on.
  template <typename F>
  void Change(F change) {
    absl::Status failure;
    {
      MutexLock lock(&mu_);
      change();
      failure = Run();
    }
    if (!failure.ok()) writer_->OnPumpFailed(failure);
  }
  // A lane may have more than before.
  void Poke() {
    Change([] {});
  }
  // The peer has had `bytes` of frames more, in `elapsed` by its own clock.
  void Acked(uint64_t bytes, absl::Duration elapsed) {
    Change([&]()
               ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { window_.Acked(bytes, elapsed, clock_.Now()); });
  }
  // From sending a frame that asked to its acknowledgement, at the shortest; unset before the
  // first.
  std::optional<absl::Duration> round_trip() {
    MutexLock lock(&mu_);
    return window_.round_trip();
  }
  // What is being written: only between BeginWrite() and Written(), where nobody changes it.
  const Message& writing() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return message_; }
  // The write is over; not `ok`: so is the stream.
  void Written(bool ok) {
    Change([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      writing_ = false;
      if (!ok) stopped_ = true;
    });
  }
  // Nothing is written from here on.
  void Stop() {
    MutexLock lock(&mu_);
    stopped_ = true;
  }

 private:
  // Why nothing is written from here on, if that is so.
  absl::Status Run() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (stopped_ || writing_) return absl::OkStatus();
    const absl::StatusOr<bool> next = Next();
    if (!next.ok()) {
      stopped_ = true;
      return next.status();
    }
    if (!*next) return absl::OkStatus();
    writing_ = true;
    writer_->BeginWrite(message_);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (short_.size() > max_short_) {
      return absl::ResourceExhaustedError("the peer does not read");
    }
    if (!short_.empty()) {
      message_ = std::move(short_.front());
      short_.pop_front();
      return true;
    }
    message_.Clear();
    bool held_back = false;
    const absl::Time now = clock_.Now();
    for (FrameLane<Message>* lane : lanes_) {
      if (!window_.Allows()) {
        const absl::StatusOr<bool> waits = lane->Wait();
        if (!waits.ok()) return waits;
        if (*waits) window_.HeldBack();
        held_back |= *waits;
        continue;
      }
      const FrameOrder order{window_.frame_bytes(), window_.WantsAck(),
                             idle_since_ ? now - *idle_since_ : absl::ZeroDuration()};
      const absl::StatusOr<bool> made = lane->Next(order, &message_);
      if (!made.ok()) return made;
      if (!*made) continue;
      window_.Sent(message_.ByteSizeLong(), order.ask, order.idle, now);
      idle_since_.reset();
      return true;
    }
    if (!held_back && !idle_since_) idle_since_ = now;
    return false;
  }

  FrameWriter<Message>* const writer_;
  const std::vector<FrameLane<Message>*> lanes_;
  const Clock& clock_;
  const size_t max_short_;

  Mutex mu_;
  Message message_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Message> short_ ABSL_GUARDED_BY(mu_);
  SendWindow window_ ABSL_GUARDED_BY(mu_);
  // Since when no lane has anything to send; unset while one has, be it held back or under way.
  std::optional<absl::Time> idle_since_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_PUMP_H_
