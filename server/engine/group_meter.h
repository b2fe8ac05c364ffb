// What crosses a group's streams, counted by whoever reads and writes them: without a lock, because
// every frame is counted.
#ifndef ISTHMUS_SERVER_ENGINE_GROUP_METER_H_
#define ISTHMUS_SERVER_ENGINE_GROUP_METER_H_

#include <absl/time/time.h>

#include <atomic>
#include <cstdint>
#include <optional>

#include "common/base/ids.h"
#include "common/run/link_estimate.h"

namespace isthmus {

// Of one group, over all its streams. Thread-safe.
class GroupMeter {
 public:
  void Received(uint64_t bytes, absl::Time now) {
    bytes_up_.fetch_add(bytes, std::memory_order_relaxed);
    Heard(now);
  }
  void Sent(uint64_t bytes) { bytes_down_.fetch_add(bytes, std::memory_order_relaxed); }
  // Any sign of life.
  void Heard(absl::Time now) { heard_.store(absl::ToUnixNanos(now), std::memory_order_relaxed); }
  // A frame of a contribution to `round`. Called for one frame at a time.
  void PartFrame(Round round, absl::Time now) {
    frame_round_.store(round.value(), std::memory_order_relaxed);
    // The round before the time: who reads a time reads a round that is at least as new.
    frame_at_.store(absl::ToUnixNanos(now), std::memory_order_release);
  }
  // It has acknowledged frames that were sent to it.
  void Took(absl::Time now) { taken_at_.store(absl::ToUnixNanos(now), std::memory_order_relaxed); }

  // How fast what it sends arrives. Called for one frame at a time.
  void SetUp(const LinkEstimate& up) {
    up_rate_.store(up.bytes_per_second, std::memory_order_relaxed);
    up_samples_.store(up.at_least ? 0 : up.samples, std::memory_order_relaxed);
  }
  // From sending it a frame until it has acknowledged that, at the shortest.
  void SetRoundTrip(absl::Duration shortest) {
    round_trip_.store(absl::ToInt64Nanoseconds(shortest), std::memory_order_relaxed);
  }

  uint64_t bytes_up() const { return bytes_up_.load(std::memory_order_relaxed); }
  uint64_t bytes_down() const { return bytes_down_.load(std::memory_order_relaxed); }
  // InfinitePast() before the first.
  absl::Time heard() const { return At(heard_.load(std::memory_order_relaxed)); }
  absl::Time last_frame() const { return At(frame_at_.load(std::memory_order_acquire)); }
  absl::Time last_taken() const { return At(taken_at_.load(std::memory_order_relaxed)); }
  LinkEstimate up() const {
    const uint32_t samples = up_samples_.load(std::memory_order_relaxed);
    return {up_rate_.load(std::memory_order_relaxed), samples == 0, samples};
  }
  std::optional<absl::Duration> round_trip() const {
    const int64_t nanos = round_trip_.load(std::memory_order_relaxed);
    return nanos == 0 ? std::nullopt : std::optional(absl::Nanoseconds(nanos));
  }
  Round last_frame_round() const { return Round(frame_round_.load(std::memory_order_relaxed)); }

 private:
  static absl::Time At(int64_t nanos) {
    return nanos == 0 ? absl::InfinitePast() : absl::FromUnixNanos(nanos);
  }

  std::atomic<uint64_t> bytes_up_{0};
  std::atomic<uint64_t> bytes_down_{0};
  std::atomic<int64_t> heard_{0};  // 0: never
  std::atomic<uint64_t> frame_round_{0};
  std::atomic<int64_t> frame_at_{0};
  std::atomic<int64_t> taken_at_{0};
  std::atomic<double> up_rate_{0};
  std::atomic<uint32_t> up_samples_{0};  // 0: the rate is the least that it is
  std::atomic<int64_t> round_trip_{0};   // 0: unknown
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_ENGINE_GROUP_METER_H_
