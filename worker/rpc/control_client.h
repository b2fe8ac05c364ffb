// The control plane, seen from a worker: blocking calls with a deadline.
#ifndef ISTHMUS_WORKER_RPC_CONTROL_CLIENT_H_
#define ISTHMUS_WORKER_RPC_CONTROL_CLIENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"
#include "common/run/worker_report.h"
#include "common/tensor/layout.h"

namespace grpc {
class Channel;
}

namespace isthmus {

// Errors are the coordinator's, as in control.proto. Thread-safe.
class ControlClient {
 public:
  struct Registration {
    uint64_t instance = 0;
    Incarnation incarnation;
    RunSpec run;
  };
  struct Self {
    GroupId group;
    Incarnation incarnation;
  };
  static std::unique_ptr<ControlClient> Make(std::shared_ptr<grpc::Channel> channel,
                                             absl::Duration call_deadline);
  virtual ~ControlClient() = default;
  virtual absl::StatusOr<Registration> Register(GroupId group, uint64_t nonce,
                                                const std::string& label, uint32_t ranks,
                                                uint64_t instance,
                                                const std::vector<std::string>& expect) = 0;
  virtual absl::Status Ready(Self self, uint64_t change, const Layout& layout) = 0;
  virtual absl::Status NotReady(Self self, uint64_t change, const std::string& reason) = 0;
  // What the run waits for before it trains, in words; empty: nothing.
  virtual absl::StatusOr<std::string> Heartbeat(Self self, const WorkerReport& report) = 0;
  // Waits a second at most: who leaves does not wait for a coordinator that is silent.
  virtual absl::Status Leave(Self self, const std::string& reason) = 0;
  // Ends the call under way, and every later one but Leave, with CANCELLED.
  virtual void Cancel() = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_RPC_CONTROL_CLIENT_H_
