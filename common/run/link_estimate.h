// What one direction of a link carries, as whoever receives on it has seen.
#ifndef ISTHMUS_COMMON_RUN_LINK_ESTIMATE_H_
#define ISTHMUS_COMMON_RUN_LINK_ESTIMATE_H_

#include <cstdint>

namespace isthmus {

struct LinkEstimate {
  double bytes_per_second = 0;  // of messages with frames; 0: nothing is known
  // Nothing has filled the link lately: it may carry more.
  bool at_least = true;
  uint32_t samples = 0;  // that filled it, of the last few: how far to trust the rate
  friend bool operator==(const LinkEstimate&, const LinkEstimate&) = default;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_LINK_ESTIMATE_H_
