// The programs of a deployment: which, with what arguments, where their files lie. Pure.
#ifndef ISTHMUS_CLI_REHEARSE_PLAN_H_
#define ISTHMUS_CLI_REHEARSE_PLAN_H_

#include <cstdint>
#include <string>

#include "cli/rehearse/children.h"
#include "cli/rehearse/options.h"

namespace isthmus {

// Where files lie; all exist before anything starts.
struct Places {
  std::string bin_dir;  // our programs
  std::string run_dir;  // sockets and the port file: short, for socket paths end at 107 bytes
  std::string log_dir;  // logs and reports
  // Of each rank of a job of somebody's own, as OMP_NUM_THREADS: all ranks share this host, and do
  // not know of each other's. 0: the environment says.
  int job_threads = 0;
};

// One coordinator and its sites, from start to end of a run. A rehearsal has one for what it was
// asked, and a short one of scheme full to compare with. Sites are numbered from 1, ranks from 0.
class Plan {
 public:
  static Plan Main(const RehearseOptions& options, Places places);
  // The same sites, links, text and batches, but whole float32 gradients and AdamW, for
  // options.compare_steps rounds, without faults or a sample.
  static Plan Comparison(const RehearseOptions& options, Places places);

  const RehearseOptions& options() const { return options_; }
  int sites() const { return options_.sites(); }
  uint64_t rounds() const { return options_.run.rounds; }
  int ranks(int site) const { return options_.ranks[static_cast<size_t>(site - 1)]; }
  const LinkSpec& link(int site) const { return options_.links[static_cast<size_t>(site - 1)]; }

  // Null: the link stays as it is.
  const LinkTrace* trace(int site) const {
    const auto index = static_cast<size_t>(site - 1);
    const bool has = index < options_.traces.size() && options_.traces[index].has_value();
    return has ? &*options_.traces[index] : nullptr;
  }
  bool traced() const { return !options_.traces.empty(); }

  static std::string CoordinatorName() { return "coordinator"; }
  static std::string WorkerName(int site);
  static std::string JobName(int site, int rank);

  Command Coordinator() const;
  // `address` is what the worker dials: its site's end of the link.
  Command Worker(int site, const std::string& address) const;
  // The ranks of a site may meet at `meeting_port` of this host, as those of a launcher do: each
  // site is a world of its own.
  Command Job(int site, int rank, uint16_t meeting_port) const;

  // Where the coordinator says that it listens.
  std::string PortFile() const;
  // Where the worker of a site waits for jobs.
  std::string SocketPath(int site) const;
  // What the job writes when it is done. Jobs that are not ours may not.
  std::string ReportPath(int site, int rank) const;

 private:
  Plan(RehearseOptions options, Places places, int sample_bytes);

  std::string LogPath(const std::string& name) const;

  const RehearseOptions options_;
  const Places places_;
  const int sample_bytes_;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_PLAN_H_
