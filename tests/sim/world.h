// Virtual time and a seeded network: events happen in time order, one at a time, in one thread.
#ifndef ISTHMUS_TESTS_SIM_WORLD_H_
#define ISTHMUS_TESTS_SIM_WORLD_H_

#include <absl/time/time.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/base/rng.h"

namespace isthmus::sim {

class World {
 public:
  explicit World(uint64_t seed) : rng(seed) {}

  Rng rng;
  absl::Time now = absl::UnixEpoch();
  std::vector<std::string> violations;  // of what must never happen

  void After(absl::Duration delay, std::function<void()> event) {
    events_.emplace(std::make_pair(now + delay, next_++), std::move(event));
  }
  absl::Duration Upto(absl::Duration most) { return most * rng.Uniform(); }

  // Runs the next event. False when none is left.
  bool Step() {
    if (events_.empty()) return false;
    auto node = events_.extract(events_.begin());
    now = node.key().first;
    node.mapped()();
    return true;
  }
  // One line of the schedule, for ISTHMUS_SIM_SEED=n ISTHMUS_SIM_TRACE=1.
  void Trace(const std::string& text) const {
    if (trace_) std::cout << (now - absl::UnixEpoch()) << " " << text << "\n";
  }
  void Check(bool holds, const std::string& what) {
    if (!holds) violations.push_back(what);
  }

 private:
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> events_;
  uint64_t next_ = 0;
  const bool trace_ = std::getenv("ISTHMUS_SIM_TRACE") != nullptr;
};

// One direction of a stream: first in, first out, each message delayed at random; once cut, what
// is under way may still arrive or be lost, and nothing after the first loss arrives.
class Pipe {
 public:
  explicit Pipe(World* world) : world_(world) {}

  void Send(std::function<void()> deliver) {
    if (cut_) return;
    last_ = std::max(last_, world_->now + world_->Upto(absl::Milliseconds(30)));
    world_->After(last_ - world_->now, [this, deliver = std::move(deliver)] {
      if (closed_) return;
      if (cut_ && world_->rng.Chance(0.5)) closed_ = true;
      if (!closed_) deliver();
    });
  }
  void Cut() { cut_ = true; }       // the sender's end is gone
  void Close() { closed_ = true; }  // the receiver no longer listens

 private:
  World* world_;
  absl::Time last_ = absl::InfinitePast();
  bool cut_ = false;
  bool closed_ = false;
};

}  // namespace isthmus::sim

#endif  // ISTHMUS_TESTS_SIM_WORLD_H_
