#include "server/core/arrivals.h"

#include <algorithm>
#include <vector>

namespace isthmus {

void Arrivals::RoundOver(absl::Duration took, const std::map<GroupId, absl::Duration>& lags) {
  Seen round{.took = took};
  for (const auto& [group, lag] : lags) {
    ++seen_[group];
    round.lag = std::max(round.lag, lag);
  }
  rounds_.push_back(round);
  if (rounds_.size() > kRounds) rounds_.pop_front();
}

void Arrivals::Forget() {
  rounds_.clear();
  seen_.clear();
}

absl::Duration Arrivals::Deadline(const std::set<GroupId>& awaited, absl::Duration most) const {
  if (rounds_.empty() || most == absl::InfiniteDuration()) return most;
  for (const GroupId group : awaited) {
    const auto seen = seen_.find(group);
    if (seen == seen_.end() || seen->second < kEnough) return most;
  }
  absl::Duration lag;
  for (const Seen& round : rounds_) lag = std::max(lag, round.lag);
  std::vector<absl::Duration> took;
  for (auto round = rounds_.end() - static_cast<std::ptrdiff_t>(std::min(kLately, rounds_.size()));
       round != rounds_.end(); ++round) {
    took.push_back(round->took);
  }
  const auto median = took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2);
  std::nth_element(took.begin(), median, took.end());
  return std::min(most, 2 * lag + std::max(kSlack, 2 * *median));
}

}  // namespace isthmus
