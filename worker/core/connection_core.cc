#include "worker/core/connection_core.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace isthmus {
namespace {

constexpr absl::Duration kRetry = absl::Milliseconds(300);  // of a call, half as much more or less
constexpr absl::Duration kSayAgain = absl::Seconds(10);
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);  // of the stream, doubling
constexpr absl::Duration kLongestBackoff = absl::Seconds(2);

// The same may go well another time. (INTERNAL is what gRPC makes of a connection cut in an odd
// place; the coordinator itself never says it.)
bool Passing(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      return true;
    default:
      return false;
  }
}

std::string Since(absl::Time then, absl::Time now) {
  return absl::FormatDuration(absl::Trunc(now - then, absl::Milliseconds(1)));
}

}  // namespace

// --- the worker --------------------------------------------------------------------------------

void ConnectionCore::SiteWhole(absl::Time now) {
  site_whole_ = true;
  retry_at_ = now;
  said_at_ = absl::InfinitePast();
}

void ConnectionCore::RunSetUp(absl::Time now) {
  setting_up_ = false;
  announcements_.clear();
  changes_ = 0;
  doubt_.reset();
  refused_ = false;
  heartbeat_at_ = now;
  if (!stream_open_) connect_at_ = now;  // else the old run's stream ends first
}

uint64_t ConnectionCore::Announce(bool ready, std::string reason, absl::Time now) {
  announcements_.push_back({++changes_, ready, std::move(reason)});
  retry_at_ = now;
  return changes_;
}

void ConnectionCore::ReportSoon(absl::Time now) { heartbeat_at_ = std::min(heartbeat_at_, now); }

void ConnectionCore::Leave(const std::string& reason, ConnectionActions& out) {
  if (ended_) return;
  if (registration_) out.push_back(CallLeave{reason});
  Fail(DaemonExit::kOk, reason, out);
}

void ConnectionCore::Fail(DaemonExit code, const std::string& reason, ConnectionActions& out) {
  if (ended_) return;
  ended_ = true;
  out.push_back(EndDaemon{code, reason});
}

// --- control calls -----------------------------------------------------------------------------

void ConnectionCore::Registered(uint64_t instance, Incarnation incarnation, absl::Time now,
                                ConnectionActions& out) {
  if (ended_) return;
  call_.reset();
  Heard(now, out);
  need_register_ = false;
  const std::pair<uint64_t, Incarnation> registration{instance, incarnation};
  if (registration_ == registration) return;
  registration_ = registration;
  setting_up_ = true;
  out.push_back(SetUpRun{});
}

void ConnectionCore::CallAnswered(const absl::Status& status, absl::Time now,
                                  ConnectionActions& out) {
  if (ended_ || !call_) return;
  const Call call = *call_;
  call_.reset();
  if (!status.ok()) return CallFailed(call, status, now, out);
  Heard(now, out);
  if (call == Call::kAnnounce) announcements_.pop_front();
  if (call != Call::kHeartbeat || !doubt_) return;
  // It knows this group: then it is the job that it will not have. The daemon can wait for another.
  out.push_back(RefuseJob{announcements_.front().change, *std::move(doubt_)});
  announcements_.pop_front();
  doubt_.reset();
}

void ConnectionCore::CallFailed(Call call, const absl::Status& status, absl::Time now,
                                ConnectionActions& out) {
  const std::string text = absl::StrCat(Name(call), ": ", std::string(status.message()));
  if (status.code() == absl::StatusCode::kAborted) {
    return Fail(DaemonExit::kFenced, std::string(status.message()), out);
  }
  retry_at_ = now + kRetry * (0.5 + uniform_());
  if (Passing(status)) return SaySilent(text, now, out);
  Heard(now, out);  // no pleasant answer, but one
  if (call == Call::kAnnounce) return AnnouncementRefused(status, now);
  if (call == Call::kHeartbeat && status.code() == absl::StatusCode::kFailedPrecondition) {
    // A coordinator that does not know this group is another instance: Register asks it.
    doubt_.reset();
    need_register_ = true;
    return;
  }
  const bool lost = call == Call::kRegister && holds_state_;
  if (!lost) return Fail(DaemonExit::kRefused, text, out);
  Fail(DaemonExit::kLost, absl::StrCat(text, "; start this worker again to join that run"), out);
}

void ConnectionCore::AnnouncementRefused(const absl::Status& status, absl::Time now) {
  if (announcements_.front().ready) {
    doubt_ = status;
    retry_at_ = now;
    return;
  }
  // Who refuses to hear that a job is gone does not know the group: the next heartbeat says so.
  announcements_.pop_front();
  ReportSoon(now);
}

void ConnectionCore::Heard(absl::Time now, ConnectionActions& out) {
  last_contact_ = now;
  if (silent_since_ && said_silent_) {
    out.push_back(SayBetter{absl::StrCat("the coordinator at ", config_.coordinator,
                                         " answers, after ", Since(*silent_since_, now))});
  }
  silent_since_.reset();
  said_silent_ = false;
}

void ConnectionCore::SaySilent(const std::string& why, absl::Time now, ConnectionActions& out) {
  if (!silent_since_) silent_since_ = now;
  if (now < said_at_ + kSayAgain) return;
  said_at_ = now;
  said_silent_ = true;
  out.push_back(
      SayTrouble{absl::StrCat("waiting for the coordinator at ", config_.coordinator, ": ", why)});
}

// --- the stream --------------------------------------------------------------------------------

void ConnectionCore::StreamWelcomed(uint64_t stream, absl::Time now, ConnectionActions& out) {
  if (stream != stream_ || ended_) return;
  welcomed_ = true;
  Heard(now, out);
  if (!stream_lost_) return;
  out.push_back(SayBetter{absl::StrCat("the stream is back, after ", Since(*stream_lost_, now))});
  stream_lost_.reset();
}

void ConnectionCore::StreamHeard(uint64_t stream, absl::Time now) {
  if (stream == stream_) last_contact_ = now;
}

void ConnectionCore::StreamProgressed(uint64_t stream, absl::Time now) {
  if (stream != stream_) return;
  StreamHeard(stream, now);
  fruitless_ = 0;
  refused_ = false;
}

void ConnectionCore::StreamEnded(uint64_t stream, const absl::Status& status, bool own,
                                 absl::Time now, ConnectionActions& out) {
  if (stream != stream_ || ended_) return;
  const std::string text(status.message());
  stream_open_ = false;
  if (!stream_lost_) stream_lost_ = now;
  const bool passing = Passing(status) || status.code() == absl::StatusCode::kResourceExhausted;
  if (!own && !passing) {
    if (status.code() == absl::StatusCode::kAborted) return Fail(DaemonExit::kFenced, text, out);
    // Said once more, it would be refused once more. What is malformed is never said again; what
    // came out of order or damaged is, once, after asking who this coordinator is.
    if (status.code() == absl::StatusCode::kInvalidArgument || refused_) {
      return Fail(DaemonExit::kRefused,
                  absl::StrCat("the coordinator refuses what this worker sends: ", text), out);
    }
    refused_ = true;
    need_register_ = true;
    retry_at_ = std::max(retry_at_, now);
  }
  // A link that is cut now and then is tried again at once, but not a coordinator that greets and
  // then hangs up.
  if (passing && !own && welcomed_) fruitless_ = 0;
  const absl::Duration backoff =
      std::min(kFirstBackoff * (1 << std::min(fruitless_++, 5u)), kLongestBackoff);
  connect_at_ = now + backoff * (0.5 + uniform_() / 2);
  out.push_back(SayTrouble{absl::StrCat("the stream ended: ", text)});
}

// --- time --------------------------------------------------------------------------------------

const char* ConnectionCore::Name(Call call) {
  switch (call) {
    case Call::kRegister:
      return "register";
    case Call::kAnnounce:
      return "ready";
    case Call::kHeartbeat:
      return "heartbeat";
  }
  return "";
}

std::optional<std::pair<ConnectionCore::Call, absl::Time>> ConnectionCore::NextCall() const {
  if (call_ || setting_up_) return std::nullopt;
  if (need_register_) return std::make_pair(Call::kRegister, retry_at_);
  if (doubt_) return std::make_pair(Call::kHeartbeat, retry_at_);
  if (!announcements_.empty() && retry_at_ <= heartbeat_at_) {
    return std::make_pair(Call::kAnnounce, retry_at_);
  }
  return std::make_pair(Call::kHeartbeat, heartbeat_at_);
}

absl::Time ConnectionCore::NextWakeup() const {
  if (ended_) return absl::InfiniteFuture();
  const absl::Time give_up = last_contact_ + config_.give_up_after;
  if (!site_whole_) return std::min(give_up, said_at_ + kSayAgain);
  absl::Time wake = give_up;
  if (const auto call = NextCall()) wake = std::min(wake, call->second);
  if (!stream_open_ && !need_register_ && !setting_up_) wake = std::min(wake, connect_at_);
  return wake;
}

void ConnectionCore::Tick(absl::Time now, ConnectionActions& out) {
  if (ended_) return;
  if (now >= last_contact_ + config_.give_up_after) {
    return Fail(DaemonExit::kLost,
                absl::StrCat("nothing heard of the coordinator at ", config_.coordinator, " for ",
                             absl::FormatDuration(config_.give_up_after),
                             "; start this worker again once it answers"),
                out);
  }
  if (!site_whole_) {
    if (now < said_at_ + kSayAgain) return;
    said_at_ = now;
    out.push_back(SayWaitingForSite{});
    return;
  }
  if (!stream_open_ && !need_register_ && !setting_up_ && connect_at_ <= now) {
    stream_open_ = true;
    welcomed_ = false;
    connect_at_ = absl::InfiniteFuture();
    out.push_back(OpenStream{++stream_});
  }
  const auto next = NextCall();
  if (!next || next->second > now) return;
  call_ = next->first;
  switch (*call_) {
    case Call::kRegister:
      out.push_back(CallRegister{holds_state_ ? registration_->first : 0});
      return;
    case Call::kAnnounce: {
      const Announcement& front = announcements_.front();
      out.push_back(CallAnnounce{front.change, front.ready, front.reason});
      return;
    }
    case Call::kHeartbeat:
      heartbeat_at_ = now + config_.heartbeat_interval;
      out.push_back(CallHeartbeat{});
      return;
  }
}

}  // namespace isthmus
