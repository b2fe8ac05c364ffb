// How far and how wide a path is, from how long calls over it take. Decides what to try next, and
// touches nothing.
#ifndef ISTHMUS_CLI_PROBE_PATH_H_
#define ISTHMUS_CLI_PROBE_PATH_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace isthmus {

// What goes up and comes down in one call beside a few bytes.
struct ProbeSize {
  uint64_t up = 0;
  uint64_t down = 0;
};
// Blocks for as long as such a call takes, and says how long that was.
using ProbeCall = std::function<absl::StatusOr<absl::Duration>(const ProbeSize&)>;

struct PathFigures {
  std::vector<absl::Duration> round_trips;  // of empty calls, ascending; one at least
  double up = 0;                            // bits per second
  double down = 0;

  absl::Duration median() const { return round_trips[round_trips.size() / 2]; }
  // As `isthmus plan --link` takes it.
  std::string Link() const;
};

// Some empty calls; then ever larger ones each way, until one takes so long that its rate is told,
// or is of kLargestProbe; of the last size the fastest of some. Takes some seconds: eight of a call
// that is slow. Errors are the call's.
inline constexpr uint64_t kLargestProbe = 4 << 20;
absl::StatusOr<PathFigures> MeasurePath(const ProbeCall& call);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_PROBE_PATH_H_
