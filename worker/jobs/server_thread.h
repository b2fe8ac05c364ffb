// The thread that polls the sockets, steps SessionCore and performs what it decides.
#ifndef ISTHMUS_WORKER_JOBS_SERVER_THREAD_H_
#define ISTHMUS_WORKER_JOBS_SERVER_THREAD_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <poll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "client/job_wire.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "worker/jobs/job_server.h"
#include "worker/jobs/session_core.h"
#include "worker/jobs/shared_buffers.h"
#include "worker/jobs/unique_fd.h"
#include "worker/jobs/unix_socket.h"

namespace isthmus {

// Thread-safe: the engine's answers are queued and wake the thread.
class ServerThread final : public JobServer {
 public:
  // `wake` is an eventfd.
  ServerThread(SessionCore::Options options, const Clock* clock,
               std::vector<std::shared_ptr<Device>> devices, UnixListener listener, UniqueFd wake,
               JobEvents* events);
  ~ServerThread() override { Stop(); }
  // Once. RESOURCE_EXHAUSTED when the system has no thread left.
  absl::Status Start();

  void FinishAttach(uint64_t session_id, absl::StatusOr<AttachReply> reply) override;
  void FinishStep(uint64_t session_id, absl::StatusOr<StepReply> reply) override;
  void NameStep(uint64_t session_id) override;
  void SetWaiting(const std::string& what) override;
  void EndSession(const absl::Status& status) override;
  void EndSession(uint64_t session_id, const absl::Status& status) override;
  void Stop() override;

 private:
  using Actions = SessionCore::Actions;
  using Command = std::function<Actions(SessionCore&)>;
  struct Connection {
    UniqueFd socket;
    UniqueFd process;  // readable once the peer has died; invalid where unsupported
    // What of a device the peer maps: kept until it lets go of the connection.
    std::shared_ptr<const DeviceBuffers> lent;
  };

  void Post(Command command);

  // What to poll: of each connection, some of them leaving, its socket, and its process where that
  // can be watched; then `wake`, then the listener. No entry without a descriptor: poll() refuses
  // more entries than the process may have descriptors.
  struct PollSet {
    struct Place {
      JobConnectionId id;
      size_t socket = 0;  // in `entries`
      bool has_process = false;
    };
    std::vector<Place> places;
    std::vector<pollfd> entries;

    bool ready(const Place& place) const { return entries[place.socket].revents != 0; }
    bool died(const Place& place) const {
      return place.has_process && entries[place.socket + 1].revents != 0;
    }
  };

  // The rest runs in the thread alone.
  void Run();
  PollSet MakePollSet() const;
  int PollTimeoutMs() const;
  // False once the server is to stop; what was answered before that has been sent then.
  bool RunCommands();
  void ReadFrom(JobConnectionId id);
  // Of a leaving connection: true once the peer has closed it.
  bool HasLeft(const Connection& connection);
  void HangUpOn(JobConnectionId id);
  void AcceptWaiting();
  void PerformAll(Actions actions);
  void HangUpOnAll();

  // Each returns what follows from doing it.
  Actions Perform(SendBuffers&& action);
  Actions Perform(DropBuffers&& action);
  Actions Perform(SendAttached&& action);
  Actions Perform(SendWaiting&& action);
  Actions Perform(SendStepDone&& action);
  Actions Perform(SendGoOn&& action);
  Actions Perform(NameStepOfRanks&& action);
  Actions Perform(UnnameStep&& action);
  Actions Perform(HangUp&& action);
  Actions Perform(ReportAttached&& action);
  Actions Perform(ReportStep&& action);
  Actions Perform(ReportLost&& action);
  // Sends to a connection that may be gone.
  Actions Send(JobConnectionId to, std::span<const std::byte> packet,
               std::span<const int> fds = {});

  const uint32_t ranks_;
  const size_t max_leaving_;
  const Clock& clock_;
  const std::vector<std::shared_ptr<Device>> devices_;  // by rank, or none
  const UniqueFd wake_;
  JobEvents& events_;

  std::optional<UnixListener> listener_;
  SessionCore core_;
  // Ascending ids are the order of acceptance; see Run() for why that matters.
  std::map<JobConnectionId, Connection> connections_;
  // Hung up on, but with something lent; the core knows nothing of them any more.
  std::map<JobConnectionId, Connection> leaving_;
  JobConnectionId next_id_{1};
  std::vector<std::optional<RankBuffers>> forming_;  // by rank
  // Of the whole session, if there is one.
  std::shared_ptr<SessionCourse> course_;
  std::shared_ptr<JobSession> session_;
  std::vector<JobPace*> paces_;  // of its ranks, if they have an optimizer of their own
  bool accept_paused_ = false;
  alignas(8) std::byte packet_[ISTHMUS_WIRE_MAX_PACKET];

  Mutex mu_;
  std::vector<Command> commands_ ABSL_GUARDED_BY(mu_);  // at most one per event, and EndSession
  bool stop_ ABSL_GUARDED_BY(mu_) = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_SERVER_THREAD_H_
