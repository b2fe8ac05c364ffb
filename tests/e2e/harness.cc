#include "tests/e2e/harness.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <utility>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/compression/state_hash.h"
#include "common/kernels/bfloat16.h"
#include "common/telemetry/log.h"
#include "common/tensor/layout.h"

namespace isthmus::e2e {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr size_t kTableBytes = 100;

// The coordinators that are up, for GiveUp() to tell of.
Mutex up_mu;
std::vector<CoordinatorServer*> up ABSL_GUARDED_BY(up_mu);

[[noreturn]] void GiveUp(const std::string& what) {
  std::cerr << "waited in vain: " << what << std::endl;
  MutexLock lock(&up_mu);
  for (CoordinatorServer* server : up) {
    v1::GetStatusReply status;
    ToProto(server->engine().Status(), &status);
    std::cerr << status.ShortDebugString() << std::endl;
  }
  abort();
}

// Quiet unless somebody wants to look: ISTHMUS_E2E_LOG=info.
const bool log_level_set = [] {
  const char* level = ::getenv("ISTHMUS_E2E_LOG");
  return SetLogLevel(level == nullptr ? "off" : level).ok();
}();

uint64_t FreshNumber() {
  static std::atomic<uint64_t> last{static_cast<uint64_t>(::getpid()) << 20};
  return ++last;
}

}  // namespace

void Eventually(const std::string& what, const std::function<bool()>& condition) {
  Mutex mu;
  CondVar never;
  const absl::Time deadline = Clock::Real().Now() + kPatience;
  while (!condition()) {
    if (Clock::Real().Now() > deadline) GiveUp(what);
    MutexLock lock(&mu);
    never.WaitFor(&mu, std::chrono::milliseconds(2));
  }
}

TempDir::TempDir() : path_("/tmp/isthmus-e2e-XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) GiveUp("a temporary directory");
}

TempDir::~TempDir() { std::filesystem::remove_all(path_); }

// --- the coordinator ---------------------------------------------------------------------------

RunSpec SmallRun(uint32_t groups, uint64_t rounds, Scheme scheme) {
  RunSpec run = DefaultRunSpec(scheme);
  if (scheme == Scheme::kFlexDemo) {
    run.format.all.k = 4;
    run.format.all.values = ValueFormat::kBf16;
  }
  run.bucket_length = kUnitLength;
  run.rounds = rounds;
  run.start_groups = groups;
  return run;
}

CoordinatorServer::Options ServerOptions(const RunSpec& run) {
  CoordinatorServer::Options options;
  options.engine.core.run = run;
  options.engine.core.instance = FreshNumber();
  options.engine.core.deadline = absl::InfiniteDuration();
  return options;
}

TestCoordinator::TestCoordinator(CoordinatorServer::Options options) {
  auto server = CoordinatorServer::Start(std::move(options), Clock::Real());
  if (!server.ok()) GiveUp(server.status().ToString());
  server_ = *std::move(server);
  MutexLock lock(&up_mu);
  up.push_back(server_.get());
}

void TestCoordinator::Shutdown() {
  {
    MutexLock lock(&up_mu);
    std::erase(up, server_.get());
  }
  server_.reset();
}

std::string TestCoordinator::address() const { return absl::StrCat("127.0.0.1:", server_->port()); }

v1::GroupStatus TestCoordinator::Group(uint32_t id) const {
  const v1::GetStatusReply status = Status();
  for (const v1::GroupStatus& group : status.groups()) {
    if (group.group_id() == id) return group;
  }
  return {};
}

void TestCoordinator::AwaitRound(uint64_t committed) const {
  Eventually(absl::StrCat("round ", committed, " committed"),
             [&] { return Status().rounds_committed() >= committed; });
}

uint64_t TestCoordinator::ExpectEqualHashes(uint32_t groups) const {
  uint64_t first = 0;
  for (uint32_t id = 1; id <= groups; ++id) {
    Eventually(absl::StrCat("the last hash of group ", id),
               [&] { return Group(id).heartbeat().hash_round() == Status().run().rounds(); });
    const uint64_t hash = Group(id).heartbeat().state_hash();
    if (id == 1) first = hash;
    EXPECT_EQ(StateHashText(hash), StateHashText(first)) << "group " << id;
  }
  return first;
}

// --- a site ------------------------------------------------------------------------------------

Site::Site(const std::string& coordinator, uint32_t group, uint32_t ranks,
           const std::function<void(Daemon::Options&)>& edit)
    : group_(group), ranks_(ranks), socket_(dir_.Path("jobs.sock")) {
  Daemon::Options options;
  options.coordinator = coordinator;
  options.group = GroupId(group);
  options.label = absl::StrCat("site-", group);
  options.ranks = ranks;
  options.socket_path = socket_;
  options.nonce = FreshNumber();
  options.heartbeat_interval = absl::Milliseconds(100);
  if (edit) edit(options);
  auto daemon = Daemon::Start(options, Clock::Real());
  if (!daemon.ok()) GiveUp(daemon.status().ToString());
  daemon_ = *std::move(daemon);
}

Daemon::Ending Site::AwaitEnd() {
  Eventually(absl::StrCat("the daemon of group ", group_, " ends"),
             [&] { return daemon_->Ended(); });
  return daemon_->ending();
}

// --- a job -------------------------------------------------------------------------------------

std::vector<client::Tensor> Model::Tensors(uint32_t group) const {
  weights_.resize(static_cast<size_t>(rows * columns));
  bias_.resize(100);
  table_.assign(kTableBytes, static_cast<std::byte>(group));
  Rng rng(group);
  for (float& w : weights_) w = static_cast<float>(rng.Uniform() - 0.5);
  for (float& b : bias_) b = static_cast<float>(rng.Uniform());
  return {client::Tensor::Trained("weights", {rows, columns}, weights_),
          client::Tensor::Constant("table", table_),
          client::Tensor::Trained("bias", {100}, bias_, 1)};
}

void FillGradient(uint32_t group, uint32_t rank, uint64_t round, std::span<const float> parameters,
                  std::span<float> gradients) {
  Rng noise(Mix64(round * 1000 + group * 100 + rank));
  for (size_t i = 0; i < gradients.size(); ++i) {
    const float target = static_cast<float>(i % 7) * 0.1f;
    gradients[i] = parameters[i] - target + static_cast<float>(noise.Uniform() - 0.5);
  }
}

Job::Job(JobOptions options) : options_(std::move(options)) {
  for (uint32_t rank = 0; rank < options_.ranks; ++rank) {
    ranks_.push_back(std::async(std::launch::async, [this, rank] { return Train(rank); }));
  }
}

Job::Job(const Site& site, JobOptions options)
    : Job([&] {
        options.socket = site.socket();
        options.group = site.group();
        options.ranks = site.ranks();
        return std::move(options);
      }()) {}

Job::~Job() {
  Resume();
  Await();
}

void Job::AwaitAttached() {
  Eventually(absl::StrCat("the job of group ", options_.group, " has attached"), [&] {
    MutexLock lock(&mu_);
    return attached_ == options_.ranks;
  });
}

void Job::PauseBefore(uint64_t round) {
  MutexLock lock(&mu_);
  pause_before_ = round;
  changed_.NotifyAll();  // a later round than before lets go who waits
}

void Job::Resume() {
  MutexLock lock(&mu_);
  pause_before_ = ~uint64_t{0};
  changed_.NotifyAll();
}

void Job::AwaitPaused() {
  Eventually(absl::StrCat("the job of group ", options_.group, " pauses"), [&] {
    MutexLock lock(&mu_);
    return paused_ == options_.ranks;
  });
}

bool Job::Ended() const {
  return std::ranges::all_of(ranks_, [](const std::future<RankOutcome>& rank) {
    return !rank.valid() || rank.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
}

const std::vector<RankOutcome>& Job::Await() {
  for (std::future<RankOutcome>& rank : ranks_) {
    if (!rank.valid()) continue;
    if (rank.wait_for(absl::ToChronoMilliseconds(kPatience)) != std::future_status::ready) {
      GiveUp(absl::StrCat("rank ", outcomes_.size(), " of group ", options_.group, " ends"));
    }
    outcomes_.push_back(rank.get());
  }
  return outcomes_;
}

void Job::WaitTurn(uint64_t round) {
  MutexLock lock(&mu_);
  if (round < pause_before_) return;
  ++paused_;
  while (round >= pause_before_) changed_.Wait(&mu_);
  --paused_;
}

RankOutcome Job::Train(uint32_t local_rank) {
  RankOutcome outcome;
  const Model model = options_.model;
  std::vector<client::Tensor> tensors =
      model.Tensors(options_.initial_values_of != 0 ? options_.initial_values_of : options_.group);
  std::vector<std::vector<uint16_t>> halves;  // of initial values
  for (client::Tensor& tensor : tensors) {
    tensor.dtype = options_.dtype;
    if (tensor.constant || options_.dtype == ISTHMUS_FLOAT32) continue;
    std::vector<uint16_t>& half = halves.emplace_back();
    for (size_t i = 0; i < tensor.data.size() / sizeof(float); ++i) {
      float value = 0;
      std::memcpy(&value, tensor.data.data() + i * sizeof(float), sizeof(value));
      half.push_back(ToBfloat16(value));
    }
    tensor.data = std::as_bytes(std::span(half));
  }
  auto session =
      client::Session::Attach({.socket_path = options_.socket,
                               .local_rank = static_cast<int32_t>(local_rank),
                               .local_world_size = 0,
                               .timeout_seconds = absl::ToDoubleSeconds(options_.attach_timeout),
                               .memory = options_.memory,
                               .keep_waiting = options_.keep_waiting},
                              tensors);
  outcome.status = session.status();
  if (!session.ok()) return outcome;
  {
    MutexLock lock(&mu_);
    ++attached_;
  }
  outcome.info = session->Info();
  const uint32_t rank = outcome.info.rank;
  outcome.initial = Parameters(*session);
  outcome.table.assign(session->Constant(1).begin(), session->Constant(1).end());
  uint64_t round = outcome.info.round + 1;
  while (true) {
    WaitTurn(round);
    if (options_.quit && options_.quit(rank, round)) break;
    FillGradients(rank, round, *session);
    if (options_.edit) options_.edit(rank, round, *session);
    auto step = session->Step({.lr = options_.lr,
                               .weight_decay = options_.weight_decay,
                               .samples = options_.samples ? options_.samples(rank) : 1,
                               .loss = static_cast<float>(options_.group),
                               .skip = options_.skip && options_.skip(rank, round)});
    if (!step.ok()) {
      outcome.status = step.status();
      break;
    }
    outcome.steps.push_back(*step);
    round = step->round + 1;
  }
  outcome.parameters = Parameters(*session);
  return outcome;
}

std::vector<float> Job::Parameters(client::Session& session) const {
  const size_t length = session.FlatParameters().size();
  std::vector<float> values(length);
  for (size_t i = 0; i < length; ++i) {
    values[i] = options_.dtype == ISTHMUS_FLOAT32
                    ? session.FlatParameters()[i]
                    : FromBfloat16(session.FlatParameters<uint16_t>()[i]);
  }
  return values;
}

void Job::FillGradients(uint32_t rank, uint64_t round, client::Session& session) const {
  for (size_t t : {0, 2}) {
    if (options_.dtype == ISTHMUS_FLOAT32) {
      FillGradient(options_.group, rank, round, session.Parameter(t), session.Gradient(t));
      continue;
    }
    const std::span<uint16_t> parameters = session.Parameter<uint16_t>(t);
    const std::span<uint16_t> gradients = session.Gradient<uint16_t>(t);
    std::vector<float> wide(parameters.size()), gradient(parameters.size());
    for (size_t i = 0; i < wide.size(); ++i) wide[i] = FromBfloat16(parameters[i]);
    FillGradient(options_.group, rank, round, wide, gradient);
    for (size_t i = 0; i < wide.size(); ++i) gradients[i] = ToBfloat16(gradient[i]);
  }
}

void ExpectEqualEnds(const std::vector<const std::vector<RankOutcome>*>& jobs,
                     std::optional<uint64_t> hash) {
  const std::vector<float>& first = jobs.front()->front().parameters;
  for (size_t j = 0; j < jobs.size(); ++j) {
    for (size_t r = 0; r < jobs[j]->size(); ++r) {
      const RankOutcome& rank = (*jobs[j])[r];
      EXPECT_TRUE(rank.status.end())
          << "job " << j << " rank " << r << ": " << rank.status.ToString();
      EXPECT_TRUE(rank.parameters == first) << "job " << j << " rank " << r << " differs";
    }
  }
  if (!hash) return;
  // Logical elements only: the weights end at a multiple of 64, the bias is padded.
  const Model model;
  const size_t logical = static_cast<size_t>(model.rows * model.columns) + 100;
  ASSERT_GE(first.size(), logical);
  EXPECT_EQ(StateHashText(StateHash(0, std::span(first).first(logical))), StateHashText(*hash));
}

// --- a program ---------------------------------------------------------------------------------

Program::Program(const std::vector<std::string>& argv) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) GiveUp("a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  if (::posix_spawn(&pid_, args[0], &actions, nullptr, args.data(), environ) != 0) {
    GiveUp(absl::StrCat("to start ", argv[0]));
  }
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  stdout_ = ends[0];
}

Program::~Program() {
  Signal(SIGKILL);
  Await();
  ::close(stdout_);
}

void Program::Signal(int signal) {
  if (!exit_) ::kill(pid_, signal);
}

int Program::Await() {
  if (exit_) return *exit_;
  int status = 0;
  Eventually(absl::StrCat("child ", pid_, " ends"),
             [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
  exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return *exit_;
}

std::string Program::ReadLine() {
  std::string line;
  const absl::Time deadline = Clock::Real().Now() + kPatience;
  while (true) {
    pollfd entry{stdout_, POLLIN, 0};
    const int64_t left_ms = absl::ToInt64Milliseconds(deadline - Clock::Real().Now());
    char c = 0;
    if (left_ms <= 0 || ::poll(&entry, 1, static_cast<int>(left_ms)) <= 0 ||
        ::read(stdout_, &c, 1) != 1) {
      GiveUp(absl::StrCat("a line of child ", pid_, " after '", line, "'"));
    }
    if (c == '\n') return line;
    line += c;
  }
}

}  // namespace isthmus::e2e
