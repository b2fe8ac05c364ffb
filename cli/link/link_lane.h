// One direction of a site's link at run time: a LinkShaper and the timers that act on what it says.
// All connections of the site share it.
#ifndef ISTHMUS_CLI_LINK_LINK_LANE_H_
#define ISTHMUS_CLI_LINK_LINK_LANE_H_

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>

#include "cli/link/link_shaper.h"

namespace isthmus {

// Used on the io_context's thread only, but for bytes(). Always owned by a shared_ptr: a timer that
// has already fired keeps the lane until its handler has run.
class LinkLane : public std::enable_shared_from_this<LinkLane> {
 public:
  using Callback = absl::AnyInvocable<void()>;

  LinkLane(asio::io_context& context, double bits_per_second, absl::Duration delay);

  const LinkShaper& shaper() const { return shaper_; }
  // For SO_RCVBUF and SO_SNDBUF at both ends, so that the kernel's buffers do not hide the link: 10
  // ms of the rate, but several of loopback's segments. 0: leave the system's default.
  int socket_buffer_bytes() const { return socket_buffer_bytes_; }
  // Every byte ever sent into the lane. Thread-safe.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  // Runs `ready`, perhaps at once, when a packet may be sent. First come, first served, so that
  // busy connections take turns.
  void WhenRoom(Callback ready);
  // Runs `arrive` when the last of `bytes` comes out at the other end, in the order of sending.
  void Send(int64_t bytes, Callback arrive);
  // Loses everything under way and forgets who waits.
  void Clear();
  // As LinkShaper::Become(); the sockets' buffers stay as they are.
  void Become(double bits_per_second, absl::Duration delay);

 private:
  struct Flight {
    absl::Time arrival;
    Callback arrive;
  };

  void ServeWaiting();
  void DeliverArrived();

  LinkShaper shaper_;
  const int socket_buffer_bytes_;
  std::atomic<uint64_t> bytes_{0};
  asio::steady_timer room_timer_;
  asio::steady_timer arrival_timer_;
  std::deque<Callback> waiting_;  // bounded by the number of connections
  std::deque<Flight> in_flight_;  // bounded by their windows
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_LINK_LANE_H_
