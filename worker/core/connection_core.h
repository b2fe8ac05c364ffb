// When a worker speaks to the coordinator and what it makes of the answers: register, connect,
// announce its job, send heartbeats, back off, give up. Events and `now` in, actions out; no
// network, clock or thread. worker/daemon performs the actions; tests/sim runs this same code.
//
// One control call is under way at a time, in this order of need: Register until it is answered,
// then what is to be announced, in order, then a heartbeat every interval. The exchange stream is
// apart from them and opened whenever there is none. What fails in passing is tried again after a
// pause; what is refused for good ends the worker, or the job, with the coordinator's words, and is
// never said again as it was.
#ifndef ISTHMUS_WORKER_CORE_CONNECTION_CORE_H_
#define ISTHMUS_WORKER_CORE_CONNECTION_CORE_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/ids.h"
#include "worker/core/daemon_exit.h"

namespace isthmus {

// --- actions -----------------------------------------------------------------------------------

// The site's machines are not all here; nothing is said to the coordinator before.
struct SayWaitingForSite {};
// Control calls; each is answered with Registered() or CallAnswered().
struct CallRegister {
  uint64_t instance = 0;  // whose updates are held; 0: none
};
struct CallAnnounce {
  uint64_t change = 0;  // as Announce() returned
  bool ready = false;
  std::string reason;  // unless ready
};
struct CallHeartbeat {};
// The last word; its answer does not matter.
struct CallLeave {
  std::string reason;
};
// The registration is another than before, or the first: the worker's state starts from nothing.
// Answer with RunSetUp(). An open stream is the old run's: end it.
struct SetUpRun {};
// Open the stream; answered by StreamEnded() in the end.
struct OpenStream {
  uint64_t stream = 0;
};
// The job that was announced with `change` cannot take part in this run.
struct RefuseJob {
  uint64_t change = 0;
  absl::Status status;
};
// Nothing follows.
struct EndDaemon {
  DaemonExit code = DaemonExit::kOk;
  std::string reason;
};
// A line for the operator, about the coordinator or the stream.
struct SayTrouble {
  std::string text;
};
struct SayBetter {
  std::string text;
};

using ConnectionAction =
    std::variant<SayWaitingForSite, CallRegister, CallAnnounce, CallHeartbeat, CallLeave, SetUpRun,
                 OpenStream, RefuseJob, EndDaemon, SayTrouble, SayBetter>;
using ConnectionActions = std::vector<ConnectionAction>;

// --- the machine -------------------------------------------------------------------------------

struct ConnectionConfig {
  std::string coordinator;                           // HOST:PORT, for messages
  absl::Duration give_up_after = absl::Minutes(10);  // without a word of the coordinator
  absl::Duration heartbeat_interval = absl::Seconds(1);
};

// Single-threaded. `now` never goes back. After EndDaemon events do nothing.
class ConnectionCore {
 public:
  // `uniform` gives numbers in [0, 1), for jitter: groups must not return in step.
  ConnectionCore(ConnectionConfig config, std::function<double()> uniform)
      : config_(config), uniform_(std::move(uniform)) {}

  // --- the worker ------------------------------------------------------------------------------
  // All machines of the group are there.
  void SiteWhole(absl::Time now);
  // The masters are those of the run: no other instance of the coordinator will do, and what it
  // refuses from here on is a loss.
  void HoldsState() { holds_state_ = true; }
  // After SetUpRun has been done.
  void RunSetUp(absl::Time now);
  // Queues Ready or NotReady(reason) and returns its number. Only after RunSetUp().
  uint64_t Announce(bool ready, std::string reason, absl::Time now);
  // There is something to report that should not wait for the next heartbeat.
  void ReportSoon(absl::Time now);
  // The worker ends by itself or was asked to: says goodbye if anybody knows it.
  void Leave(const std::string& reason, ConnectionActions& out);
  // It ends with this; no goodbye: whoever is to blame, the coordinator hears it from the stream.
  void Fail(DaemonExit code, const std::string& reason, ConnectionActions& out);

  // --- control calls ---------------------------------------------------------------------------
  void Registered(uint64_t instance, Incarnation incarnation, absl::Time now,
                  ConnectionActions& out);
  // Of Register: only when it failed.
  void CallAnswered(const absl::Status& status, absl::Time now, ConnectionActions& out);

  // --- the stream ------------------------------------------------------------------------------
  void StreamWelcomed(uint64_t stream, absl::Time now, ConnectionActions& out);
  // Anything has come.
  void StreamHeard(uint64_t stream, absl::Time now);
  // An update has come: the run goes on with this worker. (Start and snapshots are no such sign:
  // they come on every new stream.)
  void StreamProgressed(uint64_t stream, absl::Time now);
  // `own`: it is this worker that ended it, over something the coordinator sent.
  void StreamEnded(uint64_t stream, const absl::Status& status, bool own, absl::Time now,
                   ConnectionActions& out);

  // --- time ------------------------------------------------------------------------------------
  // Emits what is due, one call at most. Call at or after NextWakeup(), and after any event.
  void Tick(absl::Time now, ConnectionActions& out);
  absl::Time NextWakeup() const;

  // --- status ----------------------------------------------------------------------------------
  bool ended() const { return ended_; }
  uint64_t stream() const { return stream_; }  // the newest; 0: none yet

 private:
  enum class Call { kRegister, kAnnounce, kHeartbeat };
  struct Announcement {
    uint64_t change = 0;
    bool ready = false;
    std::string reason;
  };

  static const char* Name(Call call);
  // What the control plane has to say next, and when; nothing while a call is under way.
  std::optional<std::pair<Call, absl::Time>> NextCall() const;
  void Heard(absl::Time now, ConnectionActions& out);
  void CallFailed(Call call, const absl::Status& status, absl::Time now, ConnectionActions& out);
  void AnnouncementRefused(const absl::Status& status, absl::Time now);
  void SaySilent(const std::string& why, absl::Time now, ConnectionActions& out);

  const ConnectionConfig config_;
  const std::function<double()> uniform_;
  bool site_whole_ = false;
  bool holds_state_ = false;
  bool ended_ = false;
  absl::Time said_at_ = absl::InfinitePast();  // when the operator last heard of trouble

  bool need_register_ = true;
  bool setting_up_ = false;  // nothing to connect, announce or report before it is done
  std::optional<std::pair<uint64_t, Incarnation>> registration_;  // with which instance
  std::optional<Call> call_;                                      // under way
  absl::Time retry_at_ = absl::InfinitePast();
  absl::Time heartbeat_at_ = absl::InfinitePast();
  absl::Time last_contact_ = absl::InfiniteFuture();  // none yet: then there is nothing to give up
  std::optional<absl::Time> silent_since_;            // the first of the calls that failed in a row
  bool said_silent_ = false;
  std::deque<Announcement> announcements_;
  uint64_t changes_ = 0;
  // Ready was refused. Either the job is to blame, or the coordinator is another that does not know
  // this group yet: the heartbeat that follows tells which.
  std::optional<absl::Status> doubt_;

  uint64_t stream_ = 0;
  bool stream_open_ = false;
  absl::Time connect_at_ = absl::InfiniteFuture();
  std::optional<absl::Time> stream_lost_;
  bool welcomed_ = false;   // on the newest stream
  uint32_t fruitless_ = 0;  // streams in a row that brought no update, and were not just cut
  bool refused_ = false;    // since the last update the coordinator has once ended a stream over
                            // what this worker said
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_CORE_CONNECTION_CORE_H_
