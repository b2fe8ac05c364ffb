// The thread that carries packets between two packet devices as a thin link does.
#ifndef ISTHMUS_TESTS_NET_RELAY_H_
#define ISTHMUS_TESTS_NET_RELAY_H_

#include <thread>

#include "common/base/mutex.h"
#include "tests/net/relay_lane.h"
#include "worker/jobs/unique_fd.h"

namespace isthmus::net {

// Runs until it goes. Thread-safe.
class Relay {
 public:
  // Both ends as NetNamespace::OpenTun() gives them; `up` is from `site` to `hub`.
  Relay(UniqueFd hub, UniqueFd site, const RelayLane::Options& up, const RelayLane::Options& down);
  ~Relay();
  RelayLane::Counters up() const;
  RelayLane::Counters down() const;

 private:
  void Run();
  // Returns when to look again.
  absl::Time Turn();

  const UniqueFd hub_;
  const UniqueFd site_;
  const UniqueFd stop_;  // an eventfd
  mutable Mutex mu_;
  RelayLane up_ ABSL_GUARDED_BY(mu_);
  RelayLane down_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace isthmus::net

#endif  // ISTHMUS_TESTS_NET_RELAY_H_
