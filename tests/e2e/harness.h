// What the end-to-end tests share: a coordinator on a free port, daemons, and jobs as threads that
// attach through libisthmus, with gradients that depend on group, rank, round and parameters alone.
// Real gRPC, real sockets, real arithmetic; small models and short timeouts. Everything that waits
// has a deadline, and says what it waited for.
#ifndef ISTHMUS_TESTS_E2E_HARNESS_H_
#define ISTHMUS_TESTS_E2E_HARNESS_H_

#include <absl/time/time.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/isthmus.hpp"
#include "common/base/mutex.h"
#include "common/run/run_spec.h"
#include "server/rpc/coordinator_server.h"
#include "server/rpc/engine_messages.h"
#include "worker/daemon/daemon.h"

namespace isthmus::e2e {

// Waits until `condition` holds; ends the program, saying `what`, when it does not within 2
// minutes: threads of the test wait for what will not come. Looks every few milliseconds.
void Eventually(const std::string& what, const std::function<bool()>& condition);

// A directory that goes with its owner, for sockets.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// --- the coordinator ---------------------------------------------------------------------------

// Buckets of 4096 elements; `groups` start together.
RunSpec SmallRun(uint32_t groups, uint64_t rounds, Scheme scheme = Scheme::kFlexDemo);

// No deadline, the default grace: nothing is late unless a test wants it to be.
CoordinatorServer::Options ServerOptions(const RunSpec& run);

// Thread-safe.
class TestCoordinator {
 public:
  explicit TestCoordinator(CoordinatorServer::Options options);
  explicit TestCoordinator(const RunSpec& run) : TestCoordinator(ServerOptions(run)) {}
  ~TestCoordinator() { Shutdown(); }

  std::string address() const;
  v1::GetStatusReply Status() const {
    v1::GetStatusReply status;
    ToProto(server_->engine().Status(), &status);
    return status;
  }
  // Of a group that has registered; an empty one otherwise.
  v1::GroupStatus Group(uint32_t id) const;
  void AwaitRound(uint64_t committed) const;
  // Waits until groups 1 to `groups` have reported the hash of the last round, expects them equal,
  // and returns it.
  uint64_t ExpectEqualHashes(uint32_t groups) const;
  void Shutdown();

 private:
  std::unique_ptr<CoordinatorServer> server_;
};

// --- a site ------------------------------------------------------------------------------------

// A daemon with a socket of its own.
class Site {
 public:
  Site(const std::string& coordinator, uint32_t group, uint32_t ranks,
       const std::function<void(Daemon::Options&)>& edit = nullptr);
  const std::string& socket() const { return socket_; }
  uint32_t group() const { return group_; }
  uint32_t ranks() const { return ranks_; }
  Daemon& daemon() { return *daemon_; }
  Daemon::Ending AwaitEnd();

 private:
  const uint32_t group_;
  const uint32_t ranks_;
  TempDir dir_;
  std::string socket_;
  std::unique_ptr<Daemon> daemon_;
};

// --- a job -------------------------------------------------------------------------------------

// A weight matrix, a bias in a parameter group of its own, a constant: four buckets, padding.
struct Model {
  int64_t rows = 122;
  int64_t columns = 128;
  std::vector<client::Tensor> Tensors(uint32_t group) const;  // initial values differ by group

 private:
  mutable std::vector<float> weights_;
  mutable std::vector<float> bias_;
  mutable std::vector<std::byte> table_;
};

// What `group`'s rank computes in `round` at `parameters`: towards a target, with noise that
// differs by group, rank and round. Bit-reproducible.
void FillGradient(uint32_t group, uint32_t rank, uint64_t round, std::span<const float> parameters,
                  std::span<float> gradients);

struct JobOptions {
  std::string socket;
  uint32_t group = 1;
  uint32_t ranks = 1;
  Model model;
  std::vector<float> lr = {0.01f, 0.02f};
  std::vector<float> weight_decay = {0.1f, 0.0f};
  // Callbacks know ranks as the group counts them.
  std::function<uint64_t(uint32_t rank)> samples;  // default: 1
  std::function<bool(uint32_t rank, uint64_t round)> skip;
  // After FillGradient.
  std::function<void(uint32_t rank, uint64_t round, client::Session& session)> edit;
  // Detaches instead of stepping.
  std::function<bool(uint32_t rank, uint64_t round)> quit;
  // Device memory is addressed as the host's: with the GPU that tests/support/fake_cuda.cc plays.
  isthmus_memory memory = ISTHMUS_HOST_MEMORY;
  isthmus_dtype dtype = ISTHMUS_FLOAT32;
  absl::Duration attach_timeout = absl::Minutes(2);
  std::function<bool(const char* what)> keep_waiting;  // of every rank, while it attaches
  // Brings the initial values of this group instead; 0: of its own.
  uint32_t initial_values_of = 0;
};

// How a rank fared.
struct RankOutcome {
  client::Status status;  // end() when the run ended
  isthmus_info info = {};
  std::vector<isthmus_step_result> steps;
  std::vector<float> initial;     // flat, right after attach; bfloat16 is widened
  std::vector<float> parameters;  // flat, at the end
  std::vector<std::byte> table;   // the constant, right after attach
};

// Ranks as threads that train until the run ends or fails. Thread-safe.
class Job {
 public:
  explicit Job(JobOptions options);
  Job(const Site& site, JobOptions options);
  explicit Job(const Site& site) : Job(site, {}) {}
  ~Job();  // resumes and waits

  // Until all ranks have attached: their group takes part.
  void AwaitAttached();
  // No rank steps into `round` or a later one until Resume().
  void PauseBefore(uint64_t round);
  void Resume();
  // Until all ranks of this job wait there.
  void AwaitPaused();
  // All ranks have ended.
  bool Ended() const;
  // Until all ranks have ended; one outcome per rank.
  const std::vector<RankOutcome>& Await();

 private:
  RankOutcome Train(uint32_t local_rank);
  std::vector<float> Parameters(client::Session& session) const;
  void FillGradients(uint32_t rank, uint64_t round, client::Session& session) const;
  void WaitTurn(uint64_t round);

  const JobOptions options_;
  std::vector<std::future<RankOutcome>> ranks_;
  std::vector<RankOutcome> outcomes_;
  Mutex mu_;
  CondVar changed_;
  uint64_t pause_before_ ABSL_GUARDED_BY(mu_) = ~uint64_t{0};
  uint32_t paused_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t attached_ ABSL_GUARDED_BY(mu_) = 0;
};

// Every rank of every job got END and holds the same parameters, whose hash is `hash` if given.
void ExpectEqualEnds(const std::vector<const std::vector<RankOutcome>*>& jobs,
                     std::optional<uint64_t> hash = std::nullopt);

// --- a program ---------------------------------------------------------------------------------

// A child process; killed with its owner.
class Program {
 public:
  explicit Program(const std::vector<std::string>& argv);
  ~Program();
  void Signal(int signal);
  // Exit code, or -signal.
  int Await();
  // Blocks until the child has written a line to its standard output; without the newline.
  std::string ReadLine();

 private:
  pid_t pid_ = -1;
  int stdout_ = -1;
  std::optional<int> exit_;
};

}  // namespace isthmus::e2e

#endif  // ISTHMUS_TESTS_E2E_HARNESS_H_
