// The leader's side of a site of several machines: who has joined, and the job server and pipeline
// that a daemon has instead of its own.
#ifndef ISTHMUS_WORKER_SITE_SITE_LEADER_H_
#define ISTHMUS_WORKER_SITE_SITE_LEADER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "worker/jobs/job_server.h"
#include "worker/rpc/site_server.h"
#include "worker/site/followers.h"
#include "worker/site/site_jobs.h"
#include "worker/site/site_pipeline.h"

namespace isthmus {

// Machines come in any order, and may go again, until all are there; from then on the site is
// whole, and the first to go ends it for good. Thread-safe.
class SiteLeader : public Followers, SiteServerEvents {
 public:
  struct Options {
    uint32_t machines = 2;  // this one included
    uint32_t ranks = 1;     // of this machine
    std::string listen;     // HOST:PORT
    bool insecure = false;
    Credentials credentials = Credentials::Insecure();
    std::string name;  // of the group, for messages
    // Called once, from a follower's thread: all machines are there, with so many ranks in all.
    std::function<void(uint32_t ranks)> whole;
    // Called once, after `whole`, likewise.
    std::function<void(const absl::Status& reason)> lost;
  };
  // `jobs`: of this machine. `events` outlives it.
  SiteLeader(Options options, JobServer::Options jobs, JobEvents* events);
  ~SiteLeader() override;
  static constexpr uint32_t kMaxMachines = 64;

  // From here on jobs attach and machines join. Errors: INVALID_ARGUMENT for fewer than 2 machines
  // or more than kMaxMachines; those of SiteServer::Start and of JobServer::Start.
  absl::Status Listen();

  int port() const { return server_->port(); }
  JobServer& jobs() { return jobs_; }
  // Machines that have joined, this one included.
  uint32_t here();
  // Once whole. One at a time: the one before has ended when it answers no more. It must go before
  // this.
  std::unique_ptr<Pipeline> MakePipeline(LocalPipeline::Options options, PipelineEvents* events);
  // Says goodbye to the followers, and ends what waits for them. Blocks. `ended`: with the run, so
  // that they end, too.
  void Stop(bool ended, const std::string& reason);

  const std::vector<uint32_t>& ranks() const override { return ranks_; }
  void Send(uint32_t machine, Fill fill) override;

 private:
  class Handle;  // a pipeline that is known here as long as it lives

  absl::Status OnJoin(std::shared_ptr<FollowerStream> stream, const v1::Join& join) override;
  absl::Status OnMessage(uint32_t machine, v1::FollowerMessage& message) override;
  void OnGone(uint32_t machine, const absl::Status& reason) override;
  void EndPipeline(const absl::Status& reason);
  void Forget(SitePipeline* pipeline);

  const Options options_;
  SiteJobs jobs_;
  std::vector<uint32_t> ranks_;  // by machine; constant once whole
  Mutex mu_;
  std::vector<std::shared_ptr<FollowerStream>> streams_ ABSL_GUARDED_BY(mu_);  // by machine
  bool whole_ ABSL_GUARDED_BY(mu_) = false;
  bool over_ ABSL_GUARDED_BY(mu_) = false;  // lost, or stopped
  uint64_t set_ups_ ABSL_GUARDED_BY(mu_) = 0;
  Mutex pipeline_mu_;  // held while a pipeline hears something; before mu_
  SitePipeline* pipeline_ ABSL_GUARDED_BY(pipeline_mu_) = nullptr;
  std::unique_ptr<SiteServer> server_;  // last: its threads use everything above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_SITE_LEADER_H_
