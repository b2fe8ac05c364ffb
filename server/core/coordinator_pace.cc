// The coordinator's pace: what formats coming rounds have, by what the sites were measured to do
// (docs/protocol.md, P30). common/pace decides; here is when it is asked, and who hears of it.

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/core/coordinator.h"

namespace isthmus {

std::vector<ChunkRun> Coordinator::ChunksOfRound(Round round) const {
  std::vector<ChunkRun> chunks;
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    chunks.push_back(formats_.ChunksAt(round, buckets_.bucket(BucketIndex(b))));
  }
  return chunks;
}

void Coordinator::Measured(GroupId group, const PacedSite& site) { sites_[group] = site; }

void Coordinator::Freeze(bool frozen, Actions& out) {
  if (frozen != frozen_) out.push_back(Happened{PaceFrozen{round_.round(), frozen}});
  frozen_ = frozen;
  if (pacer_) pacer_->Freeze(frozen);
}

// Goes on from the format that rounds have, which was chosen by another process if this one was
// started again.
Pacer Coordinator::NewPacer() const {
  const std::vector<KnownScheme>& schemes = config_.schemes;
  Pacer pacer(config_.run, PlansOf(config_.run, schemes.empty() ? KnownSchemes() : schemes),
              formats_.At(formats_.last()), layout_->logical_length(), *config_.pace);
  pacer.Freeze(frozen_);
  return pacer;
}

PaceDecision Coordinator::AskPacer() {
  if (!pacer_) pacer_.emplace(NewPacer());
  std::vector<PacedSite> sites;
  for (const GroupId id : round_.awaited()) {
    const auto site = sites_.find(id);
    sites.push_back(site == sites_.end() ? PacedSite{.measured = false} : site->second);
    PacedSite& paced = sites.back();
    paced.group = id;
    paced.late = membership_.groups().at(id).too_slow.has_value();
    if (paced.waited_since < formats_.last()) paced.waited.reset();
  }
  return pacer_->Decide(sites);
}

PaceDecision Coordinator::AskSchedule(Round round) const {
  PaceDecision decision{.format = formats_.At(round), .reason = PaceReason::kScheduled};
  const auto after = std::ranges::upper_bound(config_.schedule, round, {}, &FormatChange::from);
  if (after != config_.schedule.begin()) decision.format = std::prev(after)->format;
  decision.changed = decision.format != formats_.At(round);
  return decision;
}

void Coordinator::Pace(Actions& out) {
  change_.reset();
  if (!config_.formats_change()) return;
  // With overlap jobs are in the next round already when they hear of it.
  const Round next = round_.round().next();
  const Round from = formats_.At(next).overlap > 0 ? next.next() : next;
  paced_ = config_.pace ? AskPacer() : AskSchedule(from);
  if (!paced_->changed) return;
  change_ = FormatChange{from, paced_->format};
  const RoundFormat before = formats_.At(from);
  formats_.Change(*change_);
  arrivals_.Forget();
  out.push_back(Happened{PaceChanged{*change_, before, *paced_}});
}

}  // namespace isthmus
