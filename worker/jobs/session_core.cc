#include "worker/jobs/session_core.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/jobs/rank_agreement.h"

namespace isthmus {
namespace {

// What one rank shares with the daemon: parameters, gradients, constants.
uint64_t RankBufferBytes(const Layout& layout) {
  return 2 * layout.length() * SizeOf(TypeOf(layout)) + layout.constants_bytes();
}

// A rank has this long per byte to copy its initial values, on top of the handshake timeout.
absl::Duration FillTime(uint64_t bytes) {
  constexpr uint64_t kBytesPerSecond = uint64_t{128} << 20;
  return absl::Seconds(bytes / kBytesPerSecond);
}

// The status's code with a prefix to its message.
absl::Status Annotate(const absl::Status& status, const std::string& prefix) {
  return absl::Status(status.code(), absl::StrCat(prefix, status.message()));
}

absl::Status OutOfOrder(const JobMessage& message, const char* expected) {
  return absl::FailedPreconditionError(
      absl::StrCat("expected ", expected, ", got ", MessageName(message)));
}

absl::Status CheckSameTerms(const JobTerms& terms, const std::string& whose,
                            const JobTerms& other) {
  const auto name = [](JobMemory m) { return m == JobMemory::kHost ? "host" : "device"; };
  if (other.memory != terms.memory) {
    return absl::FailedPreconditionError(absl::StrCat("memory: expected the ", name(terms.memory),
                                                      "'s as ", whose, ", got the ",
                                                      name(other.memory), "'s"));
  }
  if (other.own_optimizer == terms.own_optimizer) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("own_optimizer: expected ",
                                                    terms.own_optimizer ? 1 : 0, " as ", whose,
                                                    ", got ", other.own_optimizer ? 1 : 0));
}

}  // namespace

SessionCore::SessionCore(Options options)
    : options_(std::move(options)), holders_(options_.ranks), steps_(options_.ranks) {}

SessionCore::Actions SessionCore::Connected(JobConnectionId id, absl::Time now) {
  const auto pending = std::ranges::count_if(
      connections_, [](const auto& entry) { return entry.second.phase < Phase::kWaiting; });
  const uint64_t limit = uint64_t{options_.ranks} + options_.max_pending;
  if (static_cast<uint64_t>(pending) >= limit) {
    return {HangUp{id, absl::ResourceExhaustedError(
                           absl::StrCat(options_.name, ": expected at most ", limit,
                                        " unfinished attaches at once, got one more"))}};
  }
  connections_[id].deadline = now + options_.handshake_timeout;
  return {};
}

SessionCore::Actions SessionCore::Received(JobConnectionId id, std::span<const std::byte> packet,
                                           absl::Time now) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return {};
  Connection& connection = at->second;
  absl::StatusOr<JobMessage> message = DecodeJobMessage(packet);
  if (!message.ok()) return Failed(id, message.status());
  Actions actions;
  absl::Status status;
  if (auto* hello = std::get_if<JobHello>(&*message); hello && connection.phase == Phase::kHello) {
    status = OnHello(connection, *hello);
  } else if (auto* entry = std::get_if<JobEntry>(&*message);
             entry && connection.phase == Phase::kTable) {
    status = OnEntry(id, connection, std::move(*entry), now, actions);
  } else if (std::holds_alternative<JobFilled>(*message) && connection.phase == Phase::kFilling) {
    status = OnFilled(connection, actions);
  } else if (auto* begin = std::get_if<JobStepBegin>(&*message);
             begin && connection.phase == Phase::kAttached) {
    status = OnStepBegin(connection, std::move(begin->step), actions);
  } else if (std::holds_alternative<JobDetach>(*message)) {
    actions.push_back(HangUp{id, absl::OkStatus()});
    Remove(at, "detached", actions);
  } else {
    constexpr const char* kExpected[] = {"HELLO", "ENTRY", "FILLED", "silence until ATTACHED",
                                         "STEP_BEGIN or DETACH"};
    status = OutOfOrder(*message, kExpected[static_cast<size_t>(connection.phase)]);
  }
  // A handler that fails has done nothing yet.
  if (!status.ok()) return Failed(id, status);
  return actions;
}

SessionCore::Actions SessionCore::Closed(JobConnectionId id) {
  Actions actions;
  const auto at = connections_.find(id);
  if (at != connections_.end()) Remove(at, "went away without detaching", actions);
  return actions;
}

SessionCore::Actions SessionCore::Failed(JobConnectionId id, const absl::Status& status) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return {};
  Actions actions;
  actions.push_back(HangUp{id, Annotate(status, Prefix(at->second.rank))});
  Remove(at, std::string(status.message()), actions);
  return actions;
}

SessionCore::Actions SessionCore::Tick(absl::Time now) {
  std::vector<JobConnectionId> late;
  for (const auto& [id, connection] : connections_) {
    if (connection.phase < Phase::kWaiting && connection.deadline <= now) late.push_back(id);
  }
  Actions actions;
  for (const JobConnectionId id : late) {
    Actions more = Failed(id, absl::DeadlineExceededError("the attach was not completed in time"));
    std::ranges::move(more, std::back_inserter(actions));
  }
  return actions;
}

absl::Time SessionCore::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, connection] : connections_) {
    if (connection.phase < Phase::kWaiting) next = std::min(next, connection.deadline);
  }
  return next;
}

SessionCore::Actions SessionCore::FinishAttach(uint64_t session_id,
                                               const absl::StatusOr<AttachReply>& reply) {
  if (session_id != session_id_ || state_ == State::kForming) return {};
  ISTHMUS_CHECK(state_ == State::kAttaching);
  if (!reply.ok()) return EndSession(reply.status());
  state_ = State::kIdle;
  engine_waits_for_.clear();
  group_ranks_ = std::max(options_.ranks, reply->world_size);
  names_steps_ = terms_.own_optimizer && reply->every_steps == 0;
  overlap_steps_ = reply->overlap_steps;
  Actions actions;
  for (uint32_t rank = 0; rank < options_.ranks; ++rank) {
    connections_.at(*holders_[rank]).told.clear();
    actions.push_back(SendAttached{*holders_[rank], rank, *reply});
  }
  return actions;
}

SessionCore::Actions SessionCore::FinishStep(uint64_t session_id,
                                             const absl::StatusOr<StepReply>& reply) {
  if (session_id != session_id_ || state_ == State::kForming) return {};
  ISTHMUS_CHECK(state_ == State::kStepping);
  if (!reply.ok()) return EndSession(reply.status());
  state_ = State::kIdle;
  std::ranges::fill(steps_, std::nullopt);
  Actions actions;
  for (const auto& holder : holders_) {
    connections_.at(*holder).told.clear();
    actions.push_back(SendStepDone{*holder, *reply});
  }
  return actions;
}

SessionCore::Actions SessionCore::NameStep(uint64_t session_id) {
  if (session_id != session_id_ || !names_steps_ || named_ || state_ == State::kForming) return {};
  // Not before the ranks have been given what they had taken in at the last.
  return {NameStepOfRanks{taken_at_ == 0 ? 1 : taken_at_ + std::max(1u, overlap_steps_)}};
}

SessionCore::Actions SessionCore::SetWaiting(std::string what) {
  engine_waits_for_ = std::move(what);
  Actions actions;
  TellWaiting(actions);
  return actions;
}

SessionCore::Actions SessionCore::EndSession(const absl::Status& status) {
  ISTHMUS_CHECK(!status.ok());
  Actions actions;
  Lose(status, actions);
  return actions;
}

SessionCore::Actions SessionCore::EndSession(uint64_t session_id, const absl::Status& status) {
  if (session_id != session_id_ || state_ == State::kForming) return {};
  return EndSession(status);
}

absl::Status SessionCore::OnHello(Connection& connection, const JobHello& hello) {
  const uint32_t ranks = options_.ranks;
  if (hello.local_world_size != -1 && hello.local_world_size != static_cast<int64_t>(ranks)) {
    return absl::FailedPreconditionError(absl::StrCat("rank ", hello.local_rank,
                                                      ": local_world_size: expected the daemon's ",
                                                      ranks, ", got ", hello.local_world_size));
  }
  if (hello.local_rank < 0 || hello.local_rank >= static_cast<int64_t>(ranks)) {
    return absl::InvalidArgumentError(
        absl::StrCat("local_rank: expected 0 to ", ranks - 1, ", got ", hello.local_rank));
  }
  const auto rank = static_cast<uint32_t>(hello.local_rank);
  connection.rank = rank;
  ISTHMUS_RETURN_IF_ERROR(CheckRankFree(rank));
  if (hello.terms.memory == JobMemory::kDevice && !options_.device_memory) {
    return absl::FailedPreconditionError(
        "memory: expected the host's, since the daemon's ranks are CPUs, got a device's");
  }
  connection.terms = hello.terms;
  ISTHMUS_ASSIGN_OR_RETURN(connection.table, AttachTable::Create(hello.entry_count));
  connection.phase = Phase::kTable;
  return absl::OkStatus();
}

absl::Status SessionCore::CheckRankFree(uint32_t rank) const {
  if (!holders_[rank].has_value()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("local_rank: expected one that is free, got ",
                                                    rank, ", which another process holds"));
}

absl::Status SessionCore::OnEntry(JobConnectionId id, Connection& connection, JobEntry entry,
                                  absl::Time now, Actions& actions) {
  ISTHMUS_RETURN_IF_ERROR(connection.table.Add(std::move(entry)));
  if (!connection.table.complete()) return absl::OkStatus();
  return Claim(id, connection, now, actions);
}

absl::Status SessionCore::Claim(JobConnectionId id, Connection& connection, absl::Time now,
                                Actions& actions) {
  const uint32_t rank = *connection.rank;
  // Again: of two handshakes for one rank, the first to finish has it.
  ISTHMUS_RETURN_IF_ERROR(CheckRankFree(rank));
  ISTHMUS_ASSIGN_OR_RETURN(Layout layout, connection.table.TakeLayout());
  const auto first = std::ranges::find_if(holders_, [](const auto& h) { return h.has_value(); });
  if (first != holders_.end()) {
    ISTHMUS_RETURN_IF_ERROR(
        CheckSameModel(layout_, absl::StrCat("rank ", first - holders_.begin()), layout));
    ISTHMUS_RETURN_IF_ERROR(
        CheckSameTerms(terms_, absl::StrCat("rank ", first - holders_.begin()), connection.terms));
  } else {
    if (options_.admit) ISTHMUS_RETURN_IF_ERROR(options_.admit(layout, connection.terms));
    layout_ = std::move(layout);
    terms_ = connection.terms;
  }
  holders_[rank] = id;
  connection.phase = Phase::kFilling;
  connection.deadline = now + options_.handshake_timeout + FillTime(RankBufferBytes(layout_));
  actions.push_back(SendBuffers{id, rank, connection.table.Offsets(layout_)});
  connection.table = AttachTable();
  return absl::OkStatus();
}

absl::Status SessionCore::OnFilled(Connection& connection, Actions& actions) {
  connection.phase = Phase::kWaiting;
  for (const auto& holder : holders_) {
    if (holder && connections_.at(*holder).phase == Phase::kWaiting) continue;
    TellWaiting(actions);
    return absl::OkStatus();
  }
  for (const auto& holder : holders_) connections_.at(*holder).phase = Phase::kAttached;
  state_ = State::kAttaching;
  actions.push_back(ReportAttached{session_id_});
  TellWaiting(actions);
  return absl::OkStatus();
}

absl::Status SessionCore::CheckWants(const StepWants& wants) const {
  if (!terms_.own_optimizer && wants != StepWants()) {
    return absl::InvalidArgumentError(
        "step: expected one that is taken in and given, without own_optimizer");
  }
  if (wants.goes_on() && overlap_steps_ == 0) {
    return absl::InvalidArgumentError("step: expected one that is given too, without overlap");
  }
  // A job's way must not be taken in twice.
  if (wants.take && wants.give_first != gone_on_) {
    return absl::InvalidArgumentError(
        gone_on_ ? "step: expected to be given what was taken in before, then taken in"
                 : "step: expected nothing to be given first: nothing was taken in");
  }
  return absl::OkStatus();
}

absl::Status SessionCore::OnStepBegin(Connection& connection, RankStep step, Actions& actions) {
  const uint32_t rank = *connection.rank;
  if (state_ == State::kAttaching) {
    return absl::FailedPreconditionError("expected silence until ATTACHED, got STEP_BEGIN");
  }
  if (steps_[rank].has_value()) {
    return absl::FailedPreconditionError("expected one STEP_BEGIN per step, got a second");
  }
  if (step.lr.size() != layout_.parameter_groups()) {
    return absl::InvalidArgumentError(absl::StrCat("parameter_groups: expected the layout's ",
                                                   layout_.parameter_groups(), ", got ",
                                                   step.lr.size()));
  }
  ISTHMUS_RETURN_IF_ERROR(CheckWants(step.wants));
  // An equal share for each, so that no sum over ranks or machines has to be refused.
  const uint64_t most = RankStep::kMaxSamples / group_ranks_;
  if (step.samples > most) {
    return absl::InvalidArgumentError(absl::StrCat("samples: expected at most ", most,
                                                   " (2^53 for the ", group_ranks_,
                                                   " ranks of the group), got ", step.samples));
  }
  if (names_steps_ && step.wants.take && step.step != named_) {
    if (!named_ || step.step > *named_) {
      return absl::InvalidArgumentError(
          absl::StrCat("step: expected ", named_ ? absl::StrCat("at most ", *named_) : "none named",
                       ", where all ranks stop, got ", step.step));
    }
    actions.push_back(SendGoOn{*holders_[rank]});  // it stopped where others had passed
    return absl::OkStatus();
  }
  steps_[rank] = std::move(step);
  const bool all = std::ranges::all_of(steps_, [](const auto& s) { return s.has_value(); });
  if (!engine_waits_for_.empty()) TellWaiting(actions);
  if (all) CompleteStep(actions);
  return absl::OkStatus();
}

void SessionCore::CompleteStep(Actions& actions) {
  const RankStep& first = *steps_[0];
  for (uint32_t rank = 1; rank < options_.ranks; ++rank) {
    const absl::Status same = CheckSameStep(first, "rank 0", *steps_[rank]);
    if (same.ok()) continue;
    actions = Failed(*holders_[rank], same);
    return;
  }
  state_ = State::kStepping;
  if (!first.wants.anchor) gone_on_ = first.wants.goes_on();
  if (names_steps_ && first.wants.take) {
    taken_at_ = first.step;
    named_.reset();
    actions.push_back(UnnameStep{});
  }
  ReportStep report{session_id_, {}};
  for (const auto& step : steps_) report.steps.push_back(*step);
  actions.push_back(std::move(report));
}

std::string SessionCore::WaitingFor() const {
  if (state_ != State::kForming) {
    // A step's answer comes soon, unless the engine says otherwise.
    if (state_ != State::kAttaching || !engine_waits_for_.empty()) return engine_waits_for_;
    return "waiting for the run to start";
  }
  constexpr size_t kNamed = 8;
  std::vector<uint32_t> missing;
  for (uint32_t rank = 0; rank < options_.ranks; ++rank) {
    const auto& holder = holders_[rank];
    if (!holder || connections_.at(*holder).phase != Phase::kWaiting) missing.push_back(rank);
  }
  const size_t named = std::min(missing.size(), kNamed);
  std::string text = missing.size() == 1 ? "waiting for rank " : "waiting for ranks ";
  for (size_t i = 0; i < named; ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", missing[i]);
  if (missing.size() > named) absl::StrAppend(&text, " and ", missing.size() - named, " more");
  absl::StrAppend(&text, " of ", options_.ranks, " to attach");
  // That will be next, and may be why those are late.
  if (!engine_waits_for_.empty()) absl::StrAppend(&text, "; ", engine_waits_for_);
  return text;
}

void SessionCore::TellWaiting(Actions& actions) {
  const std::string what = WaitingFor();
  for (auto& [id, connection] : connections_) {
    const bool waits = connection.phase == Phase::kWaiting ||
                       (connection.phase == Phase::kAttached &&
                        (state_ == State::kAttaching || steps_[*connection.rank].has_value()));
    if (!waits || connection.told == what) continue;
    connection.told = what;
    actions.push_back(SendWaiting{id, what});
  }
}

void SessionCore::Remove(ConnectionMap::iterator at, const std::string& why, Actions& actions) {
  const Connection connection = std::move(at->second);
  connections_.erase(at);
  if (connection.phase < Phase::kFilling) return;
  const uint32_t rank = *connection.rank;
  holders_[rank].reset();
  if (state_ == State::kForming) {
    actions.push_back(DropBuffers{rank});
    TellWaiting(actions);
  } else {
    Lose(absl::AbortedError(absl::StrCat("the session ended: rank ", rank, ": ", why)), actions);
  }
}

void SessionCore::Lose(const absl::Status& status, Actions& actions) {
  for (uint32_t rank = 0; rank < options_.ranks; ++rank) {
    if (!holders_[rank].has_value()) continue;
    actions.push_back(HangUp{*holders_[rank], Annotate(status, Prefix(rank))});
    connections_.erase(*holders_[rank]);
    holders_[rank].reset();
    if (state_ == State::kForming) actions.push_back(DropBuffers{rank});
  }
  if (state_ == State::kForming) return;
  actions.push_back(ReportLost{session_id_, absl::StrCat(options_.name, ": ", status.message())});
  ++session_id_;
  state_ = State::kForming;
  names_steps_ = gone_on_ = false;
  overlap_steps_ = 0;
  named_.reset();
  taken_at_ = 0;
  std::ranges::fill(steps_, std::nullopt);
}

std::string SessionCore::Prefix(std::optional<uint32_t> rank) const {
  return rank ? absl::StrCat(options_.name, ", rank ", *rank, ": ")
              : absl::StrCat(options_.name, ": ");
}

}  // namespace isthmus
