#include "worker/jobs/server_thread.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <limits>
#include <system_error>
#include <utility>

#include "worker/jobs/job_messages.h"
#include "worker/jobs/step_naming.h"

namespace isthmus {
namespace {

// Packets taken from one connection before the others get their turn.
constexpr int kPacketsPerTurn = 64;
// How long to leave the backlog alone after running out of descriptors.
constexpr int kAcceptPauseMs = 100;

}  // namespace

ServerThread::ServerThread(SessionCore::Options options, const Clock* clock,
                           std::vector<std::shared_ptr<Device>> devices, UnixListener listener,
                           UniqueFd wake, JobEvents* events)
    : ranks_(options.ranks),
      max_leaving_(size_t{options.ranks} + options.max_pending),
      clock_(*clock),
      devices_(std::move(devices)),
      wake_(std::move(wake)),
      events_(*events),
      listener_(std::move(listener)),
      core_(std::move(options)),
      forming_(ranks_) {}

absl::Status ServerThread::Start() {
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread for the job socket: ", error.code().message(),
                     " (is there a limit: ulimit -u, or "
                     "pids of a container?)"));
  }
  return absl::OkStatus();
}

void ServerThread::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stop_ = true;
  }
  Post([](SessionCore&) { return Actions(); });
  thread_.join();
}

void ServerThread::FinishAttach(uint64_t session_id, absl::StatusOr<AttachReply> reply) {
  Post([session_id, reply = std::move(reply)](SessionCore& core) {
    return core.FinishAttach(session_id, reply);
  });
}

void ServerThread::FinishStep(uint64_t session_id, absl::StatusOr<StepReply> reply) {
  Post([session_id, reply = std::move(reply)](SessionCore& core) {
    return core.FinishStep(session_id, reply);
  });
}

void ServerThread::NameStep(uint64_t session_id) {
  Post([session_id](SessionCore& core) { return core.NameStep(session_id); });
}

void ServerThread::SetWaiting(const std::string& what) {
  Post([what](SessionCore& core) { return core.SetWaiting(what); });
}

void ServerThread::EndSession(const absl::Status& status) {
  Post([status](SessionCore& core) { return core.EndSession(status); });
}

void ServerThread::EndSession(uint64_t session_id, const absl::Status& status) {
  Post([session_id, status](SessionCore& core) { return core.EndSession(session_id, status); });
}

void ServerThread::Post(Command command) {
  {
    MutexLock lock(&mu_);
    commands_.push_back(std::move(command));
  }
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the thread is awake already.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void ServerThread::Run() {
  for (;;) {
    PollSet set = MakePollSet();
    if (::poll(set.entries.data(), set.entries.size(), PollTimeoutMs()) < 0) {
      for (pollfd& entry : set.entries) entry.revents = 0;  // EINTR or no memory: look again
    }
    if (!RunCommands()) break;
    // Old connections before young ones, and these before the backlog: a job that died and was
    // started again has closed its old socket before it opens the new one, so it never finds its
    // rank taken by its own ghost.
    for (const PollSet::Place& place : set.places) {
      const JobConnectionId id = place.id;
      const bool died = set.died(place);
      if (!died && !set.ready(place)) continue;
      ReadFrom(id);
      if (died && connections_.erase(id) > 0) PerformAll(core_.Closed(id));
      const auto leaving = leaving_.find(id);
      if (leaving != leaving_.end() && (died || HasLeft(leaving->second))) leaving_.erase(leaving);
    }
    const bool had_pause = accept_paused_;
    accept_paused_ = false;
    if (!had_pause && set.entries.back().revents != 0) AcceptWaiting();
    PerformAll(core_.Tick(clock_.Now()));
  }
  HangUpOnAll();
  listener_.reset();
}

ServerThread::PollSet ServerThread::MakePollSet() const {
  PollSet set;
  for (const auto* connections : {&leaving_, &connections_}) {
    for (const auto& [id, connection] : *connections) {
      const bool has_process = connection.process.valid();
      set.places.push_back({id, set.entries.size(), has_process});
      set.entries.push_back({connection.socket.get(), POLLIN, 0});
      if (has_process) set.entries.push_back({connection.process.get(), POLLIN, 0});
    }
  }
  set.entries.push_back({wake_.get(), POLLIN, 0});
  if (!accept_paused_) set.entries.push_back({listener_->fd(), POLLIN, 0});
  return set;
}

int ServerThread::PollTimeoutMs() const {
  const absl::Time deadline = core_.NextDeadline();
  int64_t timeout_ms = -1;
  if (deadline != absl::InfiniteFuture()) {
    timeout_ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline - clock_.Now()) + 1, 0,
                                     std::numeric_limits<int>::max());
  }
  if (accept_paused_) {
    timeout_ms = timeout_ms < 0 ? kAcceptPauseMs : std::min<int64_t>(timeout_ms, kAcceptPauseMs);
  }
  return static_cast<int>(timeout_ms);
}

bool ServerThread::RunCommands() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(wake_.get(), &count, sizeof(count));
  std::vector<Command> commands;
  bool stop = false;
  {
    MutexLock lock(&mu_);
    commands.swap(commands_);
    stop = stop_;
  }
  for (const Command& command : commands) PerformAll(command(core_));
  return !stop;
}

void ServerThread::ReadFrom(JobConnectionId id) {
  for (int i = 0; i < kPacketsPerTurn; ++i) {
    const auto at = connections_.find(id);
    if (at == connections_.end()) return;  // the last packet cost it the connection
    const Received received = ReceivePacket(at->second.socket.get(), packet_);
    switch (received.kind) {
      case Received::kNothingYet:
        return;
      case Received::kClosed:
        connections_.erase(at);
        PerformAll(core_.Closed(id));
        return;
      case Received::kPacket:
        if (received.size_bytes > sizeof(packet_)) {
          PerformAll(core_.Failed(id, absl::InvalidArgumentError("malformed packet: too large")));
          return;
        }
        PerformAll(core_.Received(id, std::span(packet_, received.size_bytes), clock_.Now()));
    }
  }
}

bool ServerThread::HasLeft(const Connection& connection) {
  for (int i = 0; i < kPacketsPerTurn; ++i) {
    const Received received = ReceivePacket(connection.socket.get(), packet_);
    if (received.kind != Received::kPacket) return received.kind == Received::kClosed;
  }
  return false;
}

void ServerThread::HangUpOn(JobConnectionId id) {
  auto connection = connections_.extract(id);
  if (connection.empty() || connection.mapped().lent == nullptr) return;
  ShutDownSending(connection.mapped().socket.get());  // the end of what it can read
  leaving_.insert(std::move(connection));
  // Whoever stays for ever is not worth more memory.
  if (leaving_.size() > max_leaving_) leaving_.erase(leaving_.begin());
}

void ServerThread::AcceptWaiting() {
  for (int i = 0; i < kPacketsPerTurn; ++i) {
    absl::StatusOr<std::optional<UniqueFd>> socket = listener_->Accept();
    if (!socket.ok()) {
      accept_paused_ = true;
      return;
    }
    if (!socket->has_value()) return;
    const JobConnectionId id = next_id_;
    ++next_id_;
    absl::StatusOr<UniqueFd> opened = OpenPeerProcess((*socket)->get());
    if (!opened.ok()) {
      // A rank whose death might go unseen would hold up the others for ever.
      SendPacket((*socket)->get(), PacketBytes(MakeErrorPacket(opened.status()))).IgnoreError();
      continue;
    }
    UniqueFd process = *std::move(opened);
    connections_.emplace(id, Connection{*std::move(*socket), std::move(process), nullptr});
    PerformAll(core_.Connected(id, clock_.Now()));
  }
}

void ServerThread::PerformAll(Actions actions) {
  std::deque<JobAction> queue(std::make_move_iterator(actions.begin()),
                              std::make_move_iterator(actions.end()));
  while (!queue.empty()) {
    JobAction action = std::move(queue.front());
    queue.pop_front();
    Actions more =
        std::visit([this](auto&& a) { return Perform(std::move(a)); }, std::move(action));
    std::ranges::move(more, std::back_inserter(queue));
  }
}

void ServerThread::HangUpOnAll() {
  if (course_ != nullptr) course_->gone = true;
  const isthmus_wire_error error =
      MakeErrorPacket(absl::UnavailableError("the daemon is shutting down"));
  for (const auto& [id, connection] : connections_) {
    SendPacket(connection.socket.get(), PacketBytes(error)).IgnoreError();
  }
  connections_.clear();
  leaving_.clear();
}

ServerThread::Actions ServerThread::Send(JobConnectionId to, std::span<const std::byte> packet,
                                         std::span<const int> fds) {
  const auto at = connections_.find(to);
  if (at == connections_.end()) return {};
  const absl::Status status = SendPacket(at->second.socket.get(), packet, fds);
  return status.ok() ? Actions() : core_.Failed(to, status);
}

ServerThread::Actions ServerThread::Perform(SendBuffers&& action) {
  if (!connections_.contains(action.to)) return {};
  const JobTerms& terms = core_.terms();
  absl::StatusOr<RankBuffers> buffers =
      RankBuffers::Create(core_.layout(), action.offsets, terms.own_optimizer,
                          terms.memory == JobMemory::kDevice ? devices_[action.rank] : nullptr);
  if (!buffers.ok()) {
    absl::Status status = buffers.status();
    if (!leaving_.empty()) {
      status = absl::Status(
          status.code(),
          absl::StrCat(status.message(),
                       "; processes of ended sessions that have yet to detach: ", leaving_.size()));
    }
    return core_.Failed(action.to, status);
  }
  // Before the peer can map it.
  connections_.at(action.to).lent = buffers->on_device;
  const auto packet = MakeBuffersPacket(core_.layout(), action.offsets.size(), buffers->handles());
  Actions more = Send(action.to, PacketBytes(packet), buffers->fds());
  buffers->CloseFds();
  forming_[action.rank] = *std::move(buffers);
  return more;
}

ServerThread::Actions ServerThread::Perform(DropBuffers&& action) {
  forming_[action.rank].reset();
  return {};
}

ServerThread::Actions ServerThread::Perform(SendAttached&& action) {
  return Send(action.to, PacketBytes(MakeAttachedPacket(action.reply, action.rank)));
}

ServerThread::Actions ServerThread::Perform(SendWaiting&& action) {
  const auto at = connections_.find(action.to);
  // A job that reads nothing, stopped in a debugger perhaps, misses these words and no more.
  if (at != connections_.end()) {
    SendPacket(at->second.socket.get(), PacketBytes(MakeWaitingPacket(action.what))).IgnoreError();
  }
  return {};
}

ServerThread::Actions ServerThread::Perform(SendStepDone&& action) {
  return Send(action.to, PacketBytes(MakeStepDonePacket(action.reply)));
}

ServerThread::Actions ServerThread::Perform(SendGoOn&& action) {
  return Send(action.to, PacketBytes(MakeGoOnPacket()));
}

ServerThread::Actions ServerThread::Perform(NameStepOfRanks&& action) {
  const std::optional<uint64_t> step = NameStepFor(paces_, action.not_before);
  if (!step) {
    return core_.EndSession(absl::InvalidArgumentError(
        "the counts of steps that ranks share with the daemon are none that a job can have"));
  }
  core_.StepNamed(*step);
  return {};
}

ServerThread::Actions ServerThread::Perform(UnnameStep&&) {
  for (JobPace* pace : paces_) pace->SetExchangeAt(ISTHMUS_WIRE_NOT_NAMED);
  return {};
}

ServerThread::Actions ServerThread::Perform(HangUp&& action) {
  const auto at = connections_.find(action.to);
  if (at == connections_.end()) return {};
  if (!action.status.ok()) {
    // Best effort: whoever reads nothing gets no reason.
    SendPacket(at->second.socket.get(), PacketBytes(MakeErrorPacket(action.status))).IgnoreError();
  }
  HangUpOn(action.to);
  return {};
}

ServerThread::Actions ServerThread::Perform(ReportAttached&& action) {
  std::vector<RankBuffers> buffers;
  for (auto& rank : forming_) {
    buffers.push_back(*std::move(rank));
    rank.reset();
  }
  course_ = std::make_shared<SessionCourse>();
  session_ = MakeJobSession(action.session_id, core_.layout(), std::move(buffers), course_);
  paces_.clear();
  for (uint32_t rank = 0; rank < ranks_ && session_->pace(0) != nullptr; ++rank) {
    paces_.push_back(session_->pace(rank));
  }
  events_.OnAttached(session_);
  return {};
}

ServerThread::Actions ServerThread::Perform(ReportStep&& action) {
  const RankStep& first = action.steps.front();  // all ranks agree
  if (!session_->own_optimizer()) {
    ++course_->steps;
  } else if (first.wants.take) {
    course_->steps = static_cast<uint32_t>(first.step);
  }
  events_.OnStep(action.session_id, std::move(action.steps));
  return {};
}

ServerThread::Actions ServerThread::Perform(ReportLost&& action) {
  course_->gone = true;  // first: who hears of it may wait for what the job has queued
  paces_.clear();
  session_ = nullptr;
  events_.OnLost(action.session_id, action.reason);
  return {};
}

}  // namespace isthmus
