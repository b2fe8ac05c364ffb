#include "server/core/quorum.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

namespace isthmus {
namespace {

bool Answered(const BucketTally& tally) {
  const bool all = tally.pending == 0 && tally.complete + tally.abstained > 0;
  const bool late_ones_only = tally.deadline_passed && tally.complete > 0;
  return all || late_ones_only;
}

}  // namespace

bool MayCommit(const BucketTally& tally, uint32_t min_groups) {
  return Answered(tally) && tally.complete + tally.abstained >= min_groups;
}

std::string WaitingFor(const BucketTally& tally, std::span<const Straggler> pending,
                       uint32_t min_groups) {
  if (MayCommit(tally, min_groups)) return "";
  if (Answered(tally)) {
    return absl::StrCat("below the minimum: ", tally.complete + tally.abstained, " of min_groups ",
                        min_groups, " have answered");
  }
  if (tally.pending == 0) return "no group has answered";
  const bool one = pending.size() == 1;
  const std::string ids =
      absl::StrJoin(pending, ", ", [](std::string* out, const Straggler& straggler) {
        absl::StrAppend(out, straggler.group.value());
        if (!straggler.phase.empty()) absl::StrAppend(out, " (", straggler.phase, ")");
      });
  return absl::StrCat(one ? "group " : "groups ", ids, one ? " has" : " have", " not answered");
}

}  // namespace isthmus
