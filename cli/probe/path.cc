#include "cli/probe/path.h"

#include <absl/strings/str_format.h>

#include <algorithm>

#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr int kRoundTrips = 11;
constexpr uint64_t kFirst = 16 << 10;  // two seconds of 64 kbit/s
constexpr uint64_t kGrowth = 4;
// Beyond the round trip: what queues and buffers hold is little beside it.
constexpr absl::Duration kLongEnough = absl::Milliseconds(700);
constexpr absl::Duration kPatience = absl::Seconds(2);  // with calls of the last size
constexpr int kOfTheLast = 4;

// Bits per second. `sized`: so many bytes in the direction that is meant.
absl::StatusOr<double> MeasureRate(const ProbeCall& call, ProbeSize (*sized)(uint64_t),
                                   absl::Duration round_trip) {
  const auto beyond = [&](absl::Duration took) {
    return std::max(took - round_trip, absl::Microseconds(1));
  };
  uint64_t bytes = kFirst;
  ISTHMUS_ASSIGN_OR_RETURN(absl::Duration took, call(sized(bytes)));
  while (beyond(took) < kLongEnough && bytes < kLargestProbe) {
    bytes = std::min(bytes * kGrowth, kLargestProbe);
    ISTHMUS_ASSIGN_OR_RETURN(took, call(sized(bytes)));
  }
  absl::Duration spent = took;
  for (int i = 1; i < kOfTheLast && spent < kPatience; ++i) {
    ISTHMUS_ASSIGN_OR_RETURN(const absl::Duration again, call(sized(bytes)));
    spent += again;
    took = std::min(took, again);
  }
  return 8 * static_cast<double>(bytes) / absl::ToDoubleSeconds(beyond(took));
}

}  // namespace

std::string PathFigures::Link() const {
  // In kbit, so that it reads as it was measured; within what a link can have.
  const auto rate = [](double bits) {
    return absl::StrFormat("%.0fkbit", std::clamp(bits, 1e3, 1e11) / 1e3);
  };
  return absl::StrFormat("%s:%s/%.3fms", rate(up), rate(down),
                         absl::ToDoubleMilliseconds(round_trips.front()) / 2);
}

absl::StatusOr<PathFigures> MeasurePath(const ProbeCall& call) {
  PathFigures path;
  for (int i = 0; i <= kRoundTrips; ++i) {
    ISTHMUS_ASSIGN_OR_RETURN(const absl::Duration took, call({}));
    if (i > 0) path.round_trips.push_back(took);  // the first connects
  }
  std::ranges::sort(path.round_trips);
  const absl::Duration shortest = path.round_trips.front();
  ISTHMUS_ASSIGN_OR_RETURN(
      path.up, MeasureRate(
                   call, [](uint64_t bytes) { return ProbeSize{.up = bytes}; }, shortest));
  ISTHMUS_ASSIGN_OR_RETURN(
      path.down, MeasureRate(
                     call, [](uint64_t bytes) { return ProbeSize{.down = bytes}; }, shortest));
  return path;
}

}  // namespace isthmus
