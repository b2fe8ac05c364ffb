// The engine's threads for arithmetic.
#ifndef ISTHMUS_SERVER_ENGINE_MERGE_THREADS_H_
#define ISTHMUS_SERVER_ENGINE_MERGE_THREADS_H_

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <utility>

#include "server/engine/engine.h"

namespace isthmus {

class Engine::Threads {
 public:
  explicit Threads(int count) : pool_(static_cast<size_t>(count)) {}
  ~Threads() { Join(); }
  // Blocks until nothing is left to do.
  void Join() { pool_.join(); }
  template <typename F>
  void Post(F f) {
    asio::post(pool_, std::move(f));
  }

 private:
  asio::thread_pool pool_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_ENGINE_MERGE_THREADS_H_
