// The coordinator's pace: what formats coming rounds have, by what the sites were measured to do
// (docs/protocol.md, P30). common/pace decides; here is when it is asked, and who hears of it.

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

void Coordinator::Freeze(bool frozen) {
  frozen_ = frozen;
  if (pacer_) pacer_->Freeze(frozen);
}

// Goes on from the format that rounds have, which was chosen by another process if this one was
// started again.
Pacer Coordinator::NewPacer() const {
  std::vector<Plan> plans = PlansOf(config_.run);
  const size_t first = PlanOf(formats_.At(formats_.last()), plans);
  Pacer pacer(config_.run, std::move(plans), first, layout_->logical_length(), *config_.pace);
  pacer.Freeze(frozen_);
  return pacer;
}

void Coordinator::Pace(Actions& out) {
  change_.reset();
  if (!config_.pace) return;
  if (!pacer_) pacer_.emplace(NewPacer());
  std::vector<PacedSite> sites;
  for (const GroupId id : round_.awaited()) {
    const auto site = sites_.find(id);
    sites.push_back(site == sites_.end() ? PacedSite{.measured = false} : site->second);
    if (sites.back().waited_since < formats_.last()) sites.back().waited.reset();
  }
  paced_ = pacer_->Decide(sites);
  if (!paced_->changed) return;
  const RoundFormat& format = pacer_->plans()[paced_->plan].format;
  // With overlap jobs are in the next round already when they hear of it.
  const Round next = round_.round().next();
  change_ = FormatChange{format.overlap > 0 ? next.next() : next, format};
  const RoundFormat before = formats_.At(change_->from);
  formats_.Change(*change_);
  out.push_back(Happened{PaceChanged{*change_, before, *paced_}});
}

}  // namespace isthmus
