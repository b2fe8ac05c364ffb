#include "tests/net/relay_lane.h"

namespace isthmus::net {

RelayLane::RelayLane(const Options& options)
    : shaper_(options.bits_per_second, options.delay, options.queue_bytes),
      loss_(options.loss),
      rng_(options.seed) {}

void RelayLane::Offer(std::string packet, absl::Time now) {
  if (shaper_.WhenRoom(now) > now) {
    ++counters_.dropped;
    return;
  }
  const absl::Time arrival = shaper_.Send(static_cast<int64_t>(packet.size()), now);
  if (rng_.Chance(loss_)) {
    ++counters_.lost;
    return;
  }
  under_way_.emplace_back(arrival, std::move(packet));
}

std::optional<std::string> RelayLane::Take(absl::Time now) {
  if (NextDue() > now) return std::nullopt;
  std::string packet = std::move(under_way_.front().second);
  under_way_.pop_front();
  counters_.bytes += packet.size();
  ++counters_.packets;
  return packet;
}

absl::Time RelayLane::NextDue() const {
  return under_way_.empty() ? absl::InfiniteFuture() : under_way_.front().first;
}

}  // namespace isthmus::net
