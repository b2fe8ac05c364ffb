// When a round is due whose length no job counts by itself: after so many samples of all groups
// together, or so long (docs/protocol.md, P29). Counts both; says nothing by itself.
#ifndef ISTHMUS_SERVER_CORE_DUE_CLOCK_H_
#define ISTHMUS_SERVER_CORE_DUE_CLOCK_H_

#include <absl/time/time.h>

#include <algorithm>
#include <cstdint>
#include <map>

#include "common/base/ids.h"
#include "common/run/round_format.h"

namespace isthmus {

// Single-threaded.
class DueClock {
 public:
  explicit DueClock(const Period& every) : every_(every) {}

  // Jobs do not count steps: somebody has to say when.
  bool needed() const { return every_.steps == 0; }

  // Counting begins anew: training has begun, or a round has become due.
  void Begin(absl::Time now) {
    began_ = now;
    samples_ = 0;
  }
  // So many samples were seen by jobs of this process, ever; what it had when it is first heard
  // counts to nothing: it may have been before.
  void Heard(Member member, uint64_t samples) {
    const auto [at, first] = heard_.try_emplace(member.group, member.incarnation, samples);
    auto& [incarnation, seen] = at->second;
    if (incarnation != member.incarnation) at->second = {member.incarnation, samples};
    // A late duplicate of what was heard, or no number that jobs can have seen.
    if (samples <= seen || samples > kMostSamples) return;
    samples_ = std::min(samples_ + (samples - seen), kMostSamples);
    seen = samples;
  }

  bool Due(absl::Time now) const {
    if (every_.samples > 0) return samples_ >= every_.samples;
    return needed() && now >= NextAt();
  }
  // When it will be without anything being heard; InfiniteFuture(): not by itself.
  absl::Time NextAt() const {
    if (every_.millis == 0) return absl::InfiniteFuture();
    return began_ + absl::Milliseconds(static_cast<int64_t>(every_.millis));
  }

 private:
  static constexpr uint64_t kMostSamples = uint64_t{1} << 62;

  const Period every_;
  absl::Time began_ = absl::InfiniteFuture();
  uint64_t samples_ = 0;  // of all groups, since then
  std::map<GroupId, std::pair<Incarnation, uint64_t>> heard_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_DUE_CLOCK_H_
