// One direction of a thin link that carries IP packets, as arithmetic: packet and now in, which
// packet arrives when out. The transmitter and its queue are LinkShaper's (cli/link); beyond its
// queue packets are dropped, as a router does, and TCP learns from that how fast it may go.
#ifndef ISTHMUS_TESTS_NET_RELAY_LANE_H_
#define ISTHMUS_TESTS_NET_RELAY_LANE_H_

#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "cli/link/link_shaper.h"
#include "common/base/rng.h"

namespace isthmus::net {

// Packets keep their order. Memory is bounded by the queue and the link's own length. One thread at
// a time.
class RelayLane {
 public:
  struct Options {
    double bits_per_second = 0;  // may be kUnlimitedRate
    absl::Duration delay;        // one-way
    int64_t queue_bytes = 0;     // 0: as LinkShaper chooses
    double loss = 0;             // of packets that were sent, at random, in [0, 1)
    uint64_t seed = 1;
  };
  struct Counters {
    uint64_t bytes = 0;    // delivered
    uint64_t packets = 0;  // delivered
    uint64_t dropped = 0;  // packets that found the queue full
    uint64_t lost = 0;     // packets that the link lost after they took their time on it
  };
  explicit RelayLane(const Options& options);

  void Offer(std::string packet, absl::Time now);
  // The next packet that has arrived by `now`, if any.
  std::optional<std::string> Take(absl::Time now);
  // When Take() next has one; the infinite future if nothing is on its way.
  absl::Time NextDue() const;
  const Counters& counters() const { return counters_; }

 private:
  LinkShaper shaper_;
  const double loss_;
  Rng rng_;
  Counters counters_;
  std::deque<std::pair<absl::Time, std::string>> under_way_;  // arrival times ascend
};

}  // namespace isthmus::net

#endif  // ISTHMUS_TESTS_NET_RELAY_LANE_H_
