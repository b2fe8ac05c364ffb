// What TCP alone takes over the links of a ThinLinks: the yardstick for what Isthmus does with
// them.
#ifndef ISTHMUS_TESTS_NET_TCP_COPY_H_
#define ISTHMUS_TESTS_NET_TCP_COPY_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <vector>

#include "tests/net/thin_links.h"

namespace isthmus::net {

// From the first site through the hub, which passes bytes on as they come, to the second. Counts
// from the sender's connect() to the last byte's arrival; the receiver has connected before.
absl::StatusOr<absl::Duration> CopyThroughHub(const ThinLinks& links, uint64_t bytes);

// What a round does, with nothing to compute: every one of `sites` sends `up_bytes`, and when the
// hub has all of them it sends each `down_bytes`. Times of `rounds` in a row over the same
// connections, from the beginning until the last site has everything.
absl::StatusOr<std::vector<absl::Duration>> Exchange(const ThinLinks& links, int sites,
                                                     uint64_t up_bytes, uint64_t down_bytes,
                                                     int rounds);

}  // namespace isthmus::net

#endif  // ISTHMUS_TESTS_NET_TCP_COPY_H_
