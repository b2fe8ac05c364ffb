// What a coordinator counts, for status and metrics.
#ifndef ISTHMUS_SERVER_CORE_COUNTERS_H_
#define ISTHMUS_SERVER_CORE_COUNTERS_H_

#include <cstdint>

namespace isthmus {

// Since the start of the run. A coordinator that is started again goes on counting from what it had
// kept: what it had decided and not yet kept, it may decide and count once more.
struct CoordinatorCounters {
  uint64_t rounds_committed = 0;
  uint64_t contributions_merged = 0;  // (group, bucket)
  uint64_t contributions_late = 0;    // (group, bucket) committed without an active group that was
                                      // awaited, or that is silent
  uint64_t contributions_repeated = 0;
  uint64_t abstentions = 0;
  uint64_t groups_silent = 0;    // times that a group was found to send nothing (P9)
  uint64_t groups_too_slow = 0;  // times that one was found to send too slowly
  uint64_t scalar_mismatches = 0;
  uint64_t losses_left_out = 0;  // of first buckets' contributors: no numbers
  uint64_t fenced = 0;
  uint64_t snapshots = 0;
  uint64_t audits = 0;            // rounds of which two or more groups' states were compared
  uint64_t audit_mismatches = 0;  // (group, round) found to differ
  friend bool operator==(const CoordinatorCounters&, const CoordinatorCounters&) = default;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_CORE_COUNTERS_H_
