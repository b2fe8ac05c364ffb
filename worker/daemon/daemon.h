// The worker daemon: its core at work between the coordinator, the local job and the arithmetic.
// What the core decides is performed in order; nothing here decides about rounds or credit.
#ifndef ISTHMUS_WORKER_DAEMON_DAEMON_H_
#define ISTHMUS_WORKER_DAEMON_DAEMON_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/transport/connection_socket.h"
#include "common/transport/credentials.h"
#include "worker/core/daemon_exit.h"
#include "worker/jobs/socket_access.h"

namespace isthmus {

class Device;      // common/device/device.h
class LocalRanks;  // worker/step/rank_state.h

// A group whose ranks are on several machines: this daemon leads, one on each other machine follows
// (worker/site/follower.h).
struct SiteOptions {
  uint32_t machines = 1;  // this one included; 1: the rest does not count
  std::string listen;     // HOST:PORT where the others join
  bool insecure = false;  // `listen` may be other than loopback
};

// Thread-safe.
class Daemon {
 public:
  struct Options {
    std::string coordinator;                            // HOST:PORT
    Credentials credentials = Credentials::Insecure();  // to it, and to this site's other machines
    GroupId group{1};
    std::string label;
    uint32_t ranks = 1;        // of this machine
    ConnectionOptions stream;  // to the coordinator
    SiteOptions site;
    int threads = 1;  // that may work on one rank's bucket
    // What ranks are made of, `ranks` of them, for each run anew; null: CPU ranks.
    std::function<std::unique_ptr<LocalRanks>()> make_ranks;
    // By rank: where jobs may have their buffers; none with CPU ranks.
    std::vector<std::shared_ptr<Device>> devices;
    std::string socket_path;                           // where jobs attach
    SocketAccess socket_access;                        // by whom
    std::vector<std::string> expect;                   // assertions on the run spec: "field=value"
    uint64_t nonce = 0;                                // random, non-zero
    absl::Duration give_up_after = absl::Minutes(10);  // without the coordinator
    absl::Duration heartbeat_interval = absl::Seconds(1);
    absl::Duration call_deadline = absl::Seconds(5);  // of a control call
  };

  // Listens for jobs and starts looking for the coordinator. Errors: what the socket says.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(Options options, const Clock& clock);
  virtual ~Daemon() = default;  // stops

  struct Ending {
    DaemonExit code = DaemonExit::kOk;
    std::string reason;
  };
  // True once the daemon has ended by itself.
  virtual bool Ended() = 0;
  // The reason, once ended.
  virtual Ending ending() = 0;
  // Says goodbye and ends. Blocks until all is down.
  virtual void Stop() = 0;

  // Where other machines join; 0 without any.
  virtual int site_port() const = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_DAEMON_DAEMON_H_
