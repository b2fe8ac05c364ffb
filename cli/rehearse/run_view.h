// The coordinator's status as far as a rehearsal needs it, and what a job reports at its end; plain
// values, so that progress and summary are tested without protos or processes.
#ifndef ISTHMUS_CLI_REHEARSE_RUN_VIEW_H_
#define ISTHMUS_CLI_REHEARSE_RUN_VIEW_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace isthmus {

namespace v1 {
class GetStatusReply;
}

struct GroupView {
  uint32_t group_id = 0;
  std::string state;
  uint64_t hash_round = 0;  // 0: no hash yet
  uint64_t state_hash = 0;
  // Medians over the last steps.
  double step_seconds = 0;
  double compute_seconds = 0;
  double communication_ratio = 0;
};

// A round as it went.
struct RoundView {
  uint64_t round = 0;
  double seconds = 0;
  uint32_t chunk = 0;
  uint32_t k = 0;
  std::string values;
  std::string every;
  std::string group_formats;  // of who sent otherwise
  uint64_t bytes_up = 0;      // of all sites
  uint64_t bytes_down = 0;
};

struct RunView {
  bool training = false;  // rounds are under way, even if they wait for a quorum
  bool ended = false;
  std::string state;   // in words
  std::string reason;  // what it waits for, in words; may be empty
  uint64_t ready_groups = 0;
  uint64_t round = 0;
  uint64_t rounds_committed = 0;
  uint64_t parameters = 0;
  double loss = 0;
  double samples_per_second = 0;
  uint64_t contributions_late = 0;
  uint64_t contributions_rejected = 0;
  uint64_t abstentions = 0;
  uint64_t audits = 0;            // rounds of which states were compared
  uint64_t audit_mismatches = 0;  // states that differed
  std::vector<GroupView> groups;  // ascending group id
  std::vector<RoundView> rounds;  // the last ones that are over, ascending

  const GroupView* Group(uint32_t group_id) const;
};

RunView MakeRunView(const v1::GetStatusReply& status);

// All groups 1 to `sites` have reported the hash of their state after `round`.
bool AllHashed(const RunView& view, int sites, uint64_t round);

// What isthmus-lm --report writes; the keys that a rehearsal uses.
struct CurvePoint {
  uint64_t step = 0;
  double loss = 0;

  friend bool operator==(const CurvePoint&, const CurvePoint&) = default;
};

struct JobReport {
  uint64_t parameters = 0;
  uint64_t tokens_per_step = 0;  // of one rank
  uint64_t steps = 0;
  std::optional<double> validation_loss;
  std::vector<CurvePoint> validation_curve;  // on the way, where the job was told to measure it
  std::optional<double> unigram_entropy;
  double step_seconds_mean = 0;
  double step_seconds = 0;  // medians
  double compute_seconds = 0;
  double communication_ratio = 0;
  std::string sample;  // raw bytes
};

// INVALID_ARGUMENT if `json` is no such object. Keys may be missing.
absl::StatusOr<JobReport> ParseJobReport(const std::string& json);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_RUN_VIEW_H_
