// Decides when the parts of a job on several machines are one session of their group: the leader's
// side, without network, memory, clock or threads.
//
// Each machine's own server has made sure of its own ranks (worker/jobs/session_core.h). Here: a
// session is whole once every machine's part has attached with the same model, a step once every
// part has begun it with the same rates; the first part to leave ends it for all.
#ifndef ISTHMUS_WORKER_SITE_SITE_CORE_H_
#define ISTHMUS_WORKER_SITE_SITE_CORE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/tensor/layout.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// What follows, in order. `session` is the machine's number; the group's session goes by that of
// machine 0, the leader.

struct BindSession {  // from now on operations know it by the group's number
  uint32_t machine = 0;
  uint64_t session = 0;
  uint64_t group_session = 0;
};
struct AnswerAttach {
  uint32_t machine = 0;
  uint64_t session = 0;
  AttachReply reply;  // with the machine's first_rank
};
struct AnswerStep {
  uint32_t machine = 0;
  uint64_t session = 0;
  StepReply reply;
};
struct EndPart {
  uint32_t machine = 0;
  uint64_t session = 0;
  absl::Status status;
};
struct SiteAttached {
  uint64_t group_session = 0;
};
struct SiteStepped {
  uint64_t group_session = 0;
  std::vector<RankStep> steps;  // by rank of the group
};
struct SiteLost {
  uint64_t group_session = 0;
  std::string reason;
};
using SiteAction = std::variant<BindSession, AnswerAttach, AnswerStep, EndPart, SiteAttached,
                                SiteStepped, SiteLost>;

// Single-threaded.
class SiteCore {
 public:
  using Actions = std::vector<SiteAction>;
  struct Options {
    std::vector<uint32_t> ranks;  // by machine
    std::string name;             // of the group, for messages: "group 3"
  };
  explicit SiteCore(Options options)
      : options_(std::move(options)), parts_(options_.ranks.size()) {}

  // What machines say, below options().ranks.size() of them. What is about a session that is over
  // is passed over.
  Actions Attached(uint32_t machine, uint64_t session, Layout layout);
  // `steps` by rank of the machine. Errors of the machine itself: INVALID_ARGUMENT for another
  // number of ranks or rates, FAILED_PRECONDITION for a step within a step.
  absl::StatusOr<Actions> Stepped(uint32_t machine, uint64_t session, std::vector<RankStep> steps);
  // `reason` names the machine and its rank.
  Actions Lost(uint32_t machine, uint64_t session, const std::string& reason);

  // The engine's answers; nothing for a session that is over. An error ends it.
  Actions FinishAttach(uint64_t group_session, const absl::StatusOr<AttachReply>& reply);
  Actions FinishStep(uint64_t group_session, const absl::StatusOr<StepReply>& reply);
  // Ends every part that there is with `status`, an error.
  Actions EndSession(const absl::Status& status);
  // The same of this one, once it is whole.
  Actions EndSession(uint64_t group_session, const absl::Status& status);

 private:
  enum class State { kForming, kAttaching, kIdle, kStepping };
  struct Part {
    uint64_t session = 0;
    Layout layout;
    std::vector<RankStep> steps;  // of the step being begun; empty before
  };

  uint64_t group_session() const { return parts_[0]->session; }
  bool IsWhole(uint64_t group_session) const {
    return state_ != State::kForming && this->group_session() == group_session;
  }
  std::string MachineName(uint32_t machine) const;
  Actions CompleteStep();
  // Of a whole session: `blamed` hears `status`, the others that it ended because of that.
  Actions EndBecauseOf(uint32_t blamed, const absl::Status& status);
  Actions End(const absl::Status& status, std::optional<uint32_t> spared);

  const Options options_;
  State state_ = State::kForming;
  std::vector<std::optional<Part>> parts_;  // by machine; all there once whole
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_SITE_SITE_CORE_H_
