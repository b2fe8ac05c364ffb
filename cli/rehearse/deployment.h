// One deployment at run time: its processes and links, from start until the run has ended.
#ifndef ISTHMUS_CLI_REHEARSE_DEPLOYMENT_H_
#define ISTHMUS_CLI_REHEARSE_DEPLOYMENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/base/signals.h"
#include "cli/link/forwarder.h"
#include "cli/rehearse/children.h"
#include "cli/rehearse/faults.h"
#include "cli/rehearse/live_view.h"
#include "cli/rehearse/plan.h"
#include "cli/rehearse/run_view.h"
#include "cli/rehearse/summary.h"
#include "cli/status/status_client.h"

namespace isthmus {

// Single-threaded; Run() once. Destruction kills what still runs.
class Deployment {
 public:
  // `phase` is shown while it trains. All pointers outlive it.
  Deployment(const Plan* plan, std::string phase, Signals* signals, LinkLoop* loop, LiveView* view);

  // Starts everything, waits for the end of the run, for the sites' hashes and for jobs and
  // workers to exit, then ends the coordinator.
  //
  // Errors: CANCELLED if a signal asked to end (see signal()); ABORTED if a child ended that should
  // not have, with its last words; DEADLINE_EXCEEDED if the coordinator did not come up or the jobs
  // did not end after the run; or why something could not be started.
  absl::StatusOr<DeploymentResult> Run();
  // What asked us to end; 0: nothing.
  int signal() const { return signal_; }

 private:
  struct JobId {
    int site;
    int rank;
  };

  absl::Status StartCoordinator();
  absl::Status StartSites();
  absl::Status Train();
  absl::Status AwaitHashes();
  absl::Status AwaitExits();

  // One turn of the loop: sleeps until a signal or for `timeout`, reaps, starts, asks, acts, shows.
  absl::Status Turn(absl::Duration timeout);
  absl::Status StartWaitingJobs();
  // Decides whether a child's end is as it should be, and restarts whom a fault has killed.
  absl::Status HandleExit(const ChildExit& exit);
  absl::Status RestartWorker(int site);
  void Ask(absl::Time now);
  void ApplyFaults(absl::Time now);
  void ApplyTraces(absl::Time now);
  void Show(absl::Time now);
  std::vector<LinkCounters> Counters() const;
  DeploymentResult Collect() const;
  bool Ended() const;

  const Plan& plan_;
  const std::string training_phase_;
  Signals& signals_;
  LinkLoop& loop_;
  LiveView& view_;
  std::vector<std::unique_ptr<Forwarder>> forwarders_;  // per site
  std::unique_ptr<StatusClient> status_;
  FaultSchedule faults_;
  std::vector<LinkSpec> links_;              // per site, as they are now
  std::map<std::string, int> worker_sites_;  // by name of the worker
  std::map<std::string, JobId> jobs_;        // by name of the job
  std::set<std::string> waiting_jobs_;       // to be started once their site's socket exists
  std::map<int, uint16_t> meeting_ports_;    // by site: of its ranks
  std::string phase_ = "starting";
  RunView run_;
  int signal_ = 0;
  absl::Time last_asked_ = absl::InfinitePast();
  absl::Time last_commit_ = absl::InfinitePast();
  std::optional<absl::Time> training_since_;
  std::optional<absl::Time> ended_at_;
  std::vector<RoundView> rounds_;  // all that were seen
  uint64_t rounds_at_start_ = 0;
  std::vector<LinkCounters> counters_start_;
  std::vector<LinkCounters> counters_end_;
  std::string coordinator_address_;
  Children children_;  // last: they end before their links do
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_DEPLOYMENT_H_
