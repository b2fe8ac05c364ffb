// The machines of a site, as the parts of its leader see them once all are there. Machine 0 is the
// leader itself.
#ifndef ISTHMUS_WORKER_SITE_FOLLOWERS_H_
#define ISTHMUS_WORKER_SITE_FOLLOWERS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "isthmus/v1/site.pb.h"

namespace isthmus {

// Thread-safe.
class Followers {
 public:
  using Fill = std::function<void(v1::LeaderMessage*)>;

  virtual ~Followers() = default;
  // By machine, own ones first.
  virtual const std::vector<uint32_t>& ranks() const = 0;
  uint32_t machines() const { return static_cast<uint32_t>(ranks().size()); }
  // Of `machine`, in the group.
  uint32_t first_rank(uint32_t machine) const {
    uint32_t first = 0;
    for (uint32_t m = 0; m < machine; ++m) first += ranks()[m];
    return first;
  }
  // To a machine above 0; returns at once, in order. To one that is gone: nothing.
  virtual void Send(uint32_t machine, Fill fill) = 0;
  void SendAll(const Fill& fill) {
    for (uint32_t machine = 1; machine < machines(); ++machine) Send(machine, fill);
  }
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_FOLLOWERS_H_
