// A copy of a group's state and its blocks' hashes, of one point in the run, for who asks later.
#ifndef ISTHMUS_WORKER_DAEMON_STATE_COPY_H_
#define ISTHMUS_WORKER_DAEMON_STATE_COPY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/exchange/state_image.h"

namespace isthmus {

// Made by one thread, taken by another, in whichever order. Thread-safe.
class StateCopy {
 public:
  struct State {
    StateImage image;
    std::vector<uint64_t> block_hashes;  // HashBlocks() of it
  };

  // Hashes `image`: blocks for as long as that takes. Once.
  void Made(StateImage image) {
    State state{std::move(image), {}};
    state.block_hashes = HashBlocks(state.image.bytes);
    std::function<void(State)> taker;
    {
      MutexLock lock(&mu_);
      taker = std::exchange(taker_, nullptr);
      if (taker == nullptr) state_ = std::move(state);
    }
    if (taker != nullptr) taker(std::move(state));
  }

  // Calls `taker` with the state once it is made: now, or from Made(). Once.
  void Take(std::function<void(State)> taker) {
    std::optional<State> state;
    {
      MutexLock lock(&mu_);
      state = std::exchange(state_, std::nullopt);
      if (!state) taker_ = std::move(taker);
    }
    if (state) taker(*std::move(state));
  }

 private:
  Mutex mu_;
  std::optional<State> state_ ABSL_GUARDED_BY(mu_);        // made, and not taken
  std::function<void(State)> taker_ ABSL_GUARDED_BY(mu_);  // that waits
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_STATE_COPY_H_
