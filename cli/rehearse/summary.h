// What a rehearsal found, for people and for programs. Pure.
#ifndef ISTHMUS_CLI_REHEARSE_SUMMARY_H_
#define ISTHMUS_CLI_REHEARSE_SUMMARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/link/forwarder.h"
#include "cli/rehearse/options.h"
#include "cli/rehearse/run_view.h"

namespace isthmus {

// What was collected from one deployment.
struct DeploymentResult {
  std::vector<std::optional<JobReport>> reports;  // per site, of rank 0; jobs may not write one
  RunView view;                                   // the last one
  std::vector<RoundView> rounds;                  // all, but where one was too long not looked at
  // Forwarders' counters per site: when training was first seen, and when all had applied the last
  // round, with the rounds committed in between. Start-up and initial parameters do not count.
  std::vector<LinkCounters> counters_start;
  std::vector<LinkCounters> counters_end;
  uint64_t counted_rounds = 0;
  double counted_seconds = 0;
};

struct Summary {
  uint64_t parameters = 0;
  uint64_t steps = 0;   // of every rank; "per step" is per one of these. 0: sites differ
  uint64_t rounds = 0;  // of the run
  std::string every;    // from one round to the next: "8 steps", "4096 samples"
  std::vector<double> steps_per_round;  // of each site
  std::string own_optimizer;            // of the job; empty: it steps by the daemon's
  std::vector<int> ranks;
  std::vector<std::string> links;
  std::string scheme;
  uint32_t chunk = 0;
  uint32_t k = 0;
  std::string values;
  uint64_t seed = 0;
  double loss = 0;  // as jobs report it of their batches, the last round's; may be NaN
  std::optional<double> validation_loss;
  std::vector<CurvePoint> validation_curve;  // empty unless the job was told to measure it
  std::optional<double> unigram_entropy;
  bool hashes_equal = false;
  std::vector<std::string> hashes;  // per site, 16 hex digits; empty if not reported in time
  bool replicas_part = false;       // all reported, and need not be equal: scheme none
  double step_seconds = 0;          // the slowest site's median; 0: not measured
  double compute_seconds = 0;
  std::optional<double> full_step_seconds;
  std::optional<double> exchange_speedup;
  double communication_ratio = 0;  // mean over sites
  std::vector<double> bytes_up_per_step;
  std::vector<double> bytes_down_per_step;
  uint64_t dense_float32_bytes = 0;
  uint64_t rounds_committed = 0;
  uint64_t contributions_late = 0;
  uint64_t contributions_rejected = 0;
  uint64_t abstentions = 0;
  uint64_t audits = 0;            // rounds of which states were compared
  uint64_t audit_mismatches = 0;  // states that differed
  double tokens_per_second = 0;   // 0: jobs do not say how many a sample has
  double samples_per_second = 0;  // of all sites, since training began
  double elapsed_seconds = 0;
  std::vector<RoundView> paced_rounds;  // of a paced run
  std::string sample;
};

// `comparison` is null if there was none. exchange_speedup is (full step - compute) / (step -
// compute), left out unless both differences are positive.
Summary Summarize(const RehearseOptions& options, const DeploymentResult& main,
                  const DeploymentResult* comparison);

// One JSON object with the field names of Summary; null for what was not measured.
std::string SummaryJson(const Summary& summary);
std::string SummaryText(const Summary& summary);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_SUMMARY_H_
