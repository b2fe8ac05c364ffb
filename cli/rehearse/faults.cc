#include "cli/rehearse/faults.h"

namespace isthmus {

FaultSchedule::Due FaultSchedule::Advance(uint64_t round, absl::Time now) {
  Due due;
  std::erase_if(pending_, [&](const Fault& fault) {
    const bool flip = fault.kind == Fault::Kind::kFlip;
    if (round < fault.round || (flip && round == fault.round)) return false;
    if (flip) {
      due.flip.push_back(fault.site);
    } else if (fault.kind == Fault::Kind::kKill) {
      due.kill.push_back(fault.site);
      ++kills_[fault.site];
    } else {
      due.cut.push_back(fault);
      cuts_.emplace_back(now + fault.outage, fault.site);
    }
    return true;
  });
  std::erase_if(cuts_, [&](const std::pair<absl::Time, int>& cut) {
    if (now < cut.first) return false;
    due.heal.push_back(cut.second);
    return true;
  });
  return due;
}

bool FaultSchedule::ExcuseWorker(int site) {
  if (workers_excused_[site] >= kills_[site]) return false;
  ++workers_excused_[site];
  return true;
}

bool FaultSchedule::ExcuseJob(int site, int rank) {
  if (jobs_excused_[{site, rank}] >= kills_[site]) return false;
  ++jobs_excused_[{site, rank}];
  return true;
}

}  // namespace isthmus
