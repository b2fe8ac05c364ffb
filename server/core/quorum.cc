#include "server/core/quorum.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

namespace isthmus {

QuorumVerdict DecideCommit(const BucketTally& tally, uint32_t min_groups) {
  const uint32_t answered = tally.complete + tally.abstained;
  const bool all_answered = tally.pending.empty() && answered > 0;
  const bool late_ones_only = tally.deadline_passed && tally.complete > 0;
  if (!all_answered && !late_ones_only) {
    if (tally.pending.empty()) return {false, "no group has answered"};
    const bool one = tally.pending.size() == 1;
    const std::string ids = absl::StrJoin(tally.pending, ", ", [](std::string* out, GroupId id) {
      absl::StrAppend(out, id.value());
    });
    return {false,
            absl::StrCat(one ? "group " : "groups ", ids, one ? " has" : " have", " not answered")};
  }
  if (answered < min_groups) {
    return {false, absl::StrCat("below the minimum: ", answered, " of min_groups ", min_groups,
                                " have answered")};
  }
  return {true, ""};
}

}  // namespace isthmus
