// One direction of a thin link, as arithmetic: bytes and now in, arrival times out. The transmitter
// serialises one packet after another at the link's rate; each then travels for the delay.
#ifndef ISTHMUS_CLI_LINK_LINK_SHAPER_H_
#define ISTHMUS_CLI_LINK_LINK_SHAPER_H_

#include <absl/time/time.h>

#include <cstdint>

namespace isthmus {

// Thread-compatible. Holds no bytes, only when the transmitter becomes idle: the backlog follows
// from that.
class LinkShaper {
 public:
  // `bits_per_second` may be kUnlimitedRate. `queue_bytes` 0 chooses the default: two
  // bandwidth-delay products, but at least 64 KiB and 10 ms of the rate.
  LinkShaper(double bits_per_second, absl::Duration delay, int64_t queue_bytes = 0);

  // The largest piece to send at once: 2 ms of the rate, but at least 1500 bytes and at most
  // 64 KiB. Nothing leaves in bursts larger than this.
  int64_t packet_bytes() const { return packet_bytes_; }
  int64_t queue_bytes() const { return queue_bytes_; }
  // Most bytes between one end and the other: queued, and on the wire.
  int64_t window_bytes() const { return window_bytes_; }

  // Bytes that wait for the transmitter.
  int64_t Backlog(absl::Time now) const;
  // When a whole packet will fit into the queue; `now` if it does already.
  absl::Time WhenRoom(absl::Time now) const;
  // Accepts `bytes`, 0 included, and returns when the last of them arrives at the other end. Never
  // earlier than anything sent before. Callers see to WhenRoom().
  absl::Time Send(int64_t bytes, absl::Time now);
  // Forgets the backlog: what was queued is lost.
  void Reset() { idle_at_ = last_arrival_ = absl::InfinitePast(); }
  // The link is another from now on. What waits for the transmitter leaves at the new rate.
  void Become(double bits_per_second, absl::Duration delay, absl::Time now);

 private:
  absl::Duration SerialisationTime(int64_t bytes) const;

  double bytes_per_second_;
  absl::Duration delay_;
  int64_t packet_bytes_;
  int64_t queue_bytes_;
  int64_t window_bytes_;
  absl::Time idle_at_ = absl::InfinitePast();
  absl::Time last_arrival_ = absl::InfinitePast();
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_LINK_SHAPER_H_
