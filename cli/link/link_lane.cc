#include "cli/link/link_lane.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/clock.h"

namespace isthmus {
namespace {

absl::Time Now() { return Clock::Real().Now(); }

// Loopback's segments have 64 KiB. A sender whose next one never fits the window only probes it,
// and after a while takes the connection for dead.
constexpr double kLeastSocketBufferBytes = 256.0 * 1024;

int ChooseSocketBufferBytes(double bits_per_second) {
  if (std::isinf(bits_per_second)) return 0;
  return static_cast<int>(
      std::clamp(bits_per_second / 8 * 0.010, kLeastSocketBufferBytes, 1024.0 * 1024));
}

}  // namespace

LinkLane::LinkLane(asio::io_context& context, double bits_per_second, absl::Duration delay)
    : shaper_(bits_per_second, delay),
      socket_buffer_bytes_(ChooseSocketBufferBytes(bits_per_second)),
      room_timer_(context),
      arrival_timer_(context) {}

void LinkLane::WhenRoom(Callback ready) {
  waiting_.push_back(std::move(ready));
  if (waiting_.size() == 1) ServeWaiting();
}

void LinkLane::ServeWaiting() {
  while (!waiting_.empty()) {
    const absl::Time now = Now();
    const absl::Time room_at = shaper_.WhenRoom(now);
    if (room_at > now) {
      room_timer_.expires_after(absl::ToChronoNanoseconds(room_at - now));
      room_timer_.async_wait([self = shared_from_this()](std::error_code error) {
        if (!error) self->ServeWaiting();
      });
      return;
    }
    Callback ready = std::move(waiting_.front());
    waiting_.pop_front();
    ready();
  }
}

void LinkLane::Send(int64_t bytes, Callback arrive) {
  bytes_.fetch_add(static_cast<uint64_t>(bytes), std::memory_order_relaxed);
  const absl::Time now = Now();
  const absl::Time arrival = shaper_.Send(bytes, now);
  in_flight_.push_back(Flight{arrival, std::move(arrive)});
  if (in_flight_.size() == 1) DeliverArrived();
}

void LinkLane::DeliverArrived() {
  while (!in_flight_.empty()) {
    const absl::Time now = Now();
    if (in_flight_.front().arrival > now) {
      arrival_timer_.expires_after(absl::ToChronoNanoseconds(in_flight_.front().arrival - now));
      arrival_timer_.async_wait([self = shared_from_this()](std::error_code error) {
        if (!error) self->DeliverArrived();
      });
      return;
    }
    Flight flight = std::move(in_flight_.front());
    in_flight_.pop_front();
    flight.arrive();
  }
}

void LinkLane::Become(double bits_per_second, absl::Duration delay) {
  shaper_.Become(bits_per_second, delay, Now());
  room_timer_.cancel();
  ServeWaiting();
}

void LinkLane::Clear() {
  waiting_.clear();
  in_flight_.clear();
  room_timer_.cancel();
  arrival_timer_.cancel();
  shaper_.Reset();
}

}  // namespace isthmus
