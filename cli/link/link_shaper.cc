#include "cli/link/link_shaper.h"

#include <algorithm>
#include <cmath>

namespace isthmus {
namespace {

constexpr int64_t kKiB = 1024;
// Stands for "as much as anyone needs" where the rate is unlimited.
constexpr int64_t kUnlimitedQueueBytes = 4096 * kKiB;

int64_t BytesIn(double bytes_per_second, absl::Duration duration) {
  if (std::isinf(bytes_per_second)) return kUnlimitedQueueBytes;
  return static_cast<int64_t>(bytes_per_second * absl::ToDoubleSeconds(duration));
}

int64_t ChooseQueueBytes(double bytes_per_second, absl::Duration delay) {
  return std::max({64 * kKiB, BytesIn(bytes_per_second, 2 * delay),
                   BytesIn(bytes_per_second, absl::Milliseconds(10))});
}

}  // namespace

LinkShaper::LinkShaper(double bits_per_second, absl::Duration delay, int64_t queue_bytes)
    : bytes_per_second_(bits_per_second / 8),
      delay_(delay),
      packet_bytes_(
          std::clamp<int64_t>(BytesIn(bytes_per_second_, absl::Milliseconds(2)), 1500, 64 * kKiB)),
      queue_bytes_(
          std::max(queue_bytes > 0 ? queue_bytes : ChooseQueueBytes(bytes_per_second_, delay),
                   packet_bytes_)),
      window_bytes_(queue_bytes_ + BytesIn(bytes_per_second_, delay) + packet_bytes_) {}

absl::Duration LinkShaper::SerialisationTime(int64_t bytes) const {
  if (std::isinf(bytes_per_second_)) return absl::ZeroDuration();
  return absl::Seconds(static_cast<double>(bytes) / bytes_per_second_);
}

int64_t LinkShaper::Backlog(absl::Time now) const {
  if (idle_at_ <= now || std::isinf(bytes_per_second_)) return 0;
  return std::llround(absl::ToDoubleSeconds(idle_at_ - now) * bytes_per_second_);
}

absl::Time LinkShaper::WhenRoom(absl::Time now) const {
  return std::max(now, idle_at_ - SerialisationTime(queue_bytes_ - packet_bytes_));
}

absl::Time LinkShaper::Send(int64_t bytes, absl::Time now) {
  idle_at_ = std::max(idle_at_, now) + SerialisationTime(bytes);
  last_arrival_ = std::max(last_arrival_, idle_at_ + delay_);
  return last_arrival_;
}

void LinkShaper::Become(double bits_per_second, absl::Duration delay, absl::Time now) {
  const int64_t backlog = Backlog(now);
  const absl::Time last_arrival = last_arrival_;
  *this = LinkShaper(bits_per_second, delay);
  if (backlog > 0) idle_at_ = now + SerialisationTime(backlog);
  last_arrival_ = last_arrival;
}

}  // namespace isthmus
