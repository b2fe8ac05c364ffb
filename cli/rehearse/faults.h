// When planned faults happen, and which deaths they excuse. Pure.
#ifndef ISTHMUS_CLI_REHEARSE_FAULTS_H_
#define ISTHMUS_CLI_REHEARSE_FAULTS_H_

#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "cli/rehearse/options.h"

namespace isthmus {

// Single-threaded.
class FaultSchedule {
 public:
  struct Due {
    std::vector<int> kill;   // sites whose worker to kill
    std::vector<Fault> cut;  // links to cut
    std::vector<int> heal;   // sites whose link to heal
    std::vector<int> flip;   // sites whose worker has flipped a bit by now, all by itself
  };

  explicit FaultSchedule(std::vector<Fault> faults) : pending_(std::move(faults)) {}

  // Some fault has not begun yet.
  bool pending() const { return !pending_.empty(); }
  // What to do now that `round` is open. Each fault is returned once.
  Due Advance(uint64_t round, absl::Time now);
  // A worker of `site` was killed by signal 9: true if that was us, once per kill.
  bool ExcuseWorker(int site);
  // A job of `site` failed: true if its worker was killed before, once per rank and kill. Jobs
  // that can attach again do not need it.
  bool ExcuseJob(int site, int rank);

 private:
  std::vector<Fault> pending_;
  std::vector<std::pair<absl::Time, int>> cuts_;     // until when, which site
  std::map<int, int> kills_;                         // per site, ever
  std::map<int, int> workers_excused_;               // per site
  std::map<std::pair<int, int>, int> jobs_excused_;  // per site and rank
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_FAULTS_H_
