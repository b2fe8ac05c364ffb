#include "worker/site/site_jobs.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/transport/convert.h"
#include "worker/site/site_messages.h"

namespace isthmus {

SiteJobs::SiteJobs(Options options, std::string group, JobEvents* events)
    : options_(std::move(options)),
      group_(std::move(group)),
      events_(events),
      thread_([this] { Run(); }) {}

absl::Status SiteJobs::Listen() {
  ISTHMUS_ASSIGN_OR_RETURN(server_, JobServer::Start(options_, this));
  return absl::OkStatus();
}

void SiteJobs::Open(Followers* followers) {
  MutexLock lock(&mu_);
  followers_ = followers;
  core_ =
      std::make_unique<SiteCore>(SiteCore::Options{.ranks = followers->ranks(), .name = group_});
  if (own_ != nullptr) Queue(core_->Attached(0, own_->id(), own_->layout()));
}

template <typename F>
void SiteJobs::Step(F step) {
  MutexLock lock(&mu_);
  if (core_ != nullptr) Queue(step(*core_));
}

void SiteJobs::Queue(SiteCore::Actions actions) {
  for (SiteAction& action : actions) actions_.push_back(std::move(action));
  changed_.NotifyAll();
}

absl::Status SiteJobs::OnMessage(uint32_t machine, const v1::FollowerMessage& message) {
  MutexLock lock(&mu_);
  if (core_ == nullptr) return absl::FailedPreconditionError("expected nothing before Accepted");
  if (message.has_job_attached()) {
    ISTHMUS_ASSIGN_OR_RETURN(Layout layout, FromProto(message.job_attached().layout()));
    Queue(core_->Attached(machine, message.job_attached().session(), std::move(layout)));
  } else if (message.has_job_stepped()) {
    ISTHMUS_ASSIGN_OR_RETURN(SiteCore::Actions actions,
                             core_->Stepped(machine, message.job_stepped().session(),
                                            FromMessage(message.job_stepped())));
    Queue(std::move(actions));
  } else if (message.has_job_lost()) {
    Queue(core_->Lost(machine, message.job_lost().session(), message.job_lost().reason()));
    // Whatever was asked of it is on its way; nothing more will be.
    Queue({EndPart{machine, message.job_lost().session(), absl::AbortedError("it has left")}});
  }
  return absl::OkStatus();
}

// --- this machine's job --------------------------------------------------------------------------

void SiteJobs::OnAttached(std::shared_ptr<JobSession> session) {
  MutexLock lock(&mu_);
  own_ = session;
  if (core_ != nullptr) Queue(core_->Attached(0, session->id(), session->layout()));
}

void SiteJobs::OnStep(uint64_t session_id, std::vector<RankStep> steps) {
  Step([&](SiteCore& core) {
    // Its own server keeps the order.
    return core.Stepped(0, session_id, std::move(steps)).value();
  });
}

void SiteJobs::OnLost(uint64_t session_id, const std::string& reason) {
  MutexLock lock(&mu_);
  own_ = nullptr;
  if (core_ != nullptr) Queue(core_->Lost(0, session_id, reason));
}

// --- the engine's answers ------------------------------------------------------------------------

void SiteJobs::FinishAttach(uint64_t session_id, absl::StatusOr<AttachReply> reply) {
  Step([&](SiteCore& core) { return core.FinishAttach(session_id, reply); });
}

void SiteJobs::FinishStep(uint64_t session_id, absl::StatusOr<StepReply> reply) {
  Step([&](SiteCore& core) { return core.FinishStep(session_id, reply); });
}

void SiteJobs::SetWaiting(const std::string& what) { server_->SetWaiting(what); }

void SiteJobs::EndSession(const absl::Status& status) {
  Step([&](SiteCore& core) { return core.EndSession(status); });
  server_->EndSession(status);  // what is forming, too
}

void SiteJobs::EndSession(uint64_t session_id, const absl::Status& status) {
  Step([&](SiteCore& core) { return core.EndSession(session_id, status); });
}

void SiteJobs::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  if (server_ != nullptr) server_->Stop();
}

// --- performing ----------------------------------------------------------------------------------

void SiteJobs::Run() {
  while (true) {
    SiteAction action;
    {
      MutexLock lock(&mu_);
      while (actions_.empty() && !stopping_) changed_.Wait(&mu_);
      if (actions_.empty()) return;
      action = std::move(actions_.front());
      actions_.pop_front();
    }
    std::visit([this](auto&& a) { Perform(std::move(a)); }, std::move(action));
  }
}

void SiteJobs::Perform(BindSession&& action) {
  if (action.machine == 0) return;
  followers_->Send(action.machine, [action](v1::LeaderMessage* message) {
    message->mutable_session_whole()->set_session(action.session);
    message->mutable_session_whole()->set_leader_session(action.group_session);
  });
}

void SiteJobs::Perform(AnswerAttach&& action) {
  if (action.machine == 0) return server_->FinishAttach(action.session, action.reply);
  followers_->Send(action.machine, [action](v1::LeaderMessage* message) {
    ToMessage(action.reply, message->mutable_session_attached());
    message->mutable_session_attached()->set_session(action.session);
  });
}

void SiteJobs::Perform(AnswerStep&& action) {
  if (action.machine == 0) return server_->FinishStep(action.session, action.reply);
  followers_->Send(action.machine, [action](v1::LeaderMessage* message) {
    ToMessage(action.reply, message->mutable_session_stepped());
    message->mutable_session_stepped()->set_session(action.session);
  });
}

void SiteJobs::Perform(EndPart&& action) {
  if (action.machine == 0) return server_->EndSession(action.session, action.status);
  followers_->Send(action.machine, [action](v1::LeaderMessage* message) {
    ToMessage(action.status, message->mutable_session_ended());
    message->mutable_session_ended()->set_session(action.session);
  });
}

void SiteJobs::Perform(SiteAttached&& action) {
  std::shared_ptr<JobSession> session;
  {
    MutexLock lock(&mu_);
    session = own_;
  }
  // Gone meanwhile: the engine hears of neither.
  if (session == nullptr || session->id() != action.group_session) return;
  told_ = action.group_session;
  events_->OnAttached(std::move(session));
}

void SiteJobs::Perform(SiteStepped&& action) {
  if (told_ == action.group_session) {
    events_->OnStep(action.group_session, std::move(action.steps));
  }
}

void SiteJobs::Perform(SiteLost&& action) {
  if (told_ == action.group_session) events_->OnLost(action.group_session, action.reason);
}

}  // namespace isthmus
