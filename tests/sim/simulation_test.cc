// Many seeded schedules of a whole run: drops, delays, duplicates and reordering of control calls,
// cut links, crashing jobs and workers, double joins, a log that is too short, masters that are
// corrupted, a coordinator that is killed and started again with what it had kept. After every
// event: no bucket of a round is committed twice, nobody is told what is not in the log, no group
// applies another update than was committed, or one twice, and every contribution is exactly one of
// merged, returned, in flight. When the faults stop, the run ends with equal masters everywhere.

#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "common/tensor/layout.h"
#include "tests/sim/sim_coordinator.h"
#include "tests/sim/sim_worker.h"
#include "tests/sim/world.h"

namespace isthmus::sim {
namespace {

constexpr uint64_t kRounds = 12;

struct Outcome {
  std::vector<std::string> violations;
  bool finished = false;
  uint64_t mismatches = 0;
  uint64_t restarts = 0;  // of the coordinator, with a round open
  uint64_t changes = 0;   // of rounds' formats that a process of it has made
  std::string where;
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : world_(seed) {
    Rng& rng = world_.rng;
    groups_ = 1 + static_cast<uint32_t>(rng.Below(4));
    buckets_ = 1 + static_cast<uint32_t>(rng.Below(3));
    CoordinatorConfig config;
    config.run.start_groups = 1 + static_cast<uint32_t>(rng.Below(groups_));
    config.run.min_groups = 1 + static_cast<uint32_t>(rng.Below(config.run.start_groups));
    config.run.rounds = kRounds;
    config.run.bucket_length = kUnitLength;
    config.run.optimizer.kind = OptimizerKind::kAdamW;  // which counts a bucket's commits
    config.deadline =
        rng.Chance(0.5) ? absl::Milliseconds(20 + rng.Below(300)) : absl::InfiniteDuration();
    config.reconnect_grace = absl::Milliseconds(50 + rng.Below(400));
    config.transfer_timeout = absl::Seconds(1);
    const bool short_log = rng.Chance(0.3);
    options_.buckets = buckets_;
    options_.last_round = Round(kRounds);
    options_.layout = *Layout::Create(
        {{"w", {static_cast<int64_t>(buckets_ * kUnitLength)}, DType::kFloat32, 0}}, {});
    options_.nonfinite = rng.Chance(0.5) ? 0.1 : 0.0;
    options_.refused = rng.Chance(0.3) ? 0.05 : 0.0;
    options_.duplicate = rng.Chance(0.5) ? 0.3 : 0.0;
    options_.lose = rng.Chance(0.5) ? 0.3 : 0.0;
    faults_ = rng.Chance(0.1) ? 0 : rng.Below(25);
    kills_ = rng.Chance(0.6);
    coordinator_dies_ = rng.Chance(0.5);
    if (rng.Chance(0.5)) {
      config.run.audit_rounds =
          1 + static_cast<uint32_t>(rng.Below(4));  // of which 12 is a multiple
      options_.audit_rounds = config.run.audit_rounds;
      corruptions_ = rng.Below(6);
    }
    options_.overlap = rng.Chance(0.4);
    options_.names_steps = rng.Chance(0.3);
    if (options_.names_steps) {
      RunSpec local = DefaultRunSpec(Scheme::kLocal);
      config.run.scheme = local.scheme;
      config.run.format.all = local.format.all;
      config.run.decay = local.decay;
      config.run.sign = local.sign;
      config.run.merge = local.merge;
      config.run.optimizer = local.optimizer;
      config.run.format.every = {.steps = 0};
      if (rng.Chance(0.5)) {
        config.run.format.every.millis = 1 + rng.Below(300);
      } else {
        config.run.format.every.samples = 1 + rng.Below(200);
      }
    }
    if (!options_.names_steps && !options_.overlap && rng.Chance(0.4)) {
      config.run.format.overlap = 1;  // of rounds, each a step (P31)
    }
    if (!options_.names_steps && rng.Chance(0.5)) {
      config.pace = Pacer::Options{.worth = 0, .dwell = 1, .longest_dwell = 1};
    }
    config.learn_deadline = rng.Chance(0.5);
    options_.run = config.run;
    const absl::Duration gap =
        rng.Chance(0.5) ? absl::Milliseconds(1 + rng.Below(40)) : absl::ZeroDuration();
    coordinator_ = std::make_unique<SimCoordinator>(&world_, config,
                                                    short_log ? 4 * buckets_ : size_t{100000}, gap);
  }

  Outcome Run() {
    for (uint32_t g = 1; g <= groups_; ++g) {
      world_.After(world_.Upto(absl::Seconds(1)), [this, g] { Spawn(GroupId(g)); });
    }
    for (uint64_t i = 0; i < faults_; ++i) {
      world_.After(world_.Upto(absl::Seconds(4)), [this] { Fault(); });
    }
    for (uint64_t i = 0; i < corruptions_; ++i) {
      world_.After(world_.Upto(absl::Seconds(3)), [this] { CorruptSomebody(); });
    }
    const absl::Time limit = world_.now + absl::Seconds(300);
    while (world_.violations.empty() && world_.now < limit && !Finished() && world_.Step()) {
      for (const auto& worker : workers_) {
        if (worker->alive()) worker->CheckLedger();
      }
    }
    if (Finished()) coordinator_->CheckCounts();
    Outcome outcome{world_.violations, Finished(), 0, restarts_, 0, ""};
    outcome.where = absl::StrCat("round ", coordinator_->core().open_round().value(), ": ",
                                 coordinator_->core().WaitingReason(world_.now));
    if (outcome.finished && !EqualMasters()) {
      outcome.violations.push_back("masters differ at the end");
    }
    outcome.mismatches = coordinator_->core().counters().audit_mismatches;
    const RoundFormats& formats = coordinator_->core().formats();
    outcome.changes = formats.From(formats.first()).size() - 1;
    return outcome;
  }

 private:
  void Spawn(GroupId group) {
    WorkerOptions options = options_;
    options.group = group;
    options.nonce = ++nonce_;
    workers_.push_back(std::make_unique<SimWorker>(&world_, coordinator_.get(), options));
    workers_.back()->Start();
  }

  std::vector<SimWorker*> Alive() const {
    std::vector<SimWorker*> alive;
    for (const auto& worker : workers_) {
      if (worker->alive()) alive.push_back(worker.get());
    }
    return alive;
  }

  void Fault() {
    const std::vector<SimWorker*> alive = Alive();
    if (alive.empty()) return;
    SimWorker* victim = alive[world_.rng.Below(alive.size())];
    const uint64_t kind = world_.rng.Below(coordinator_dies_ ? 5 : 4);
    world_.Trace(absl::StrCat("fault ", kind, " at group ", victim->group().value()));
    switch (kind) {
      case 0:
        victim->CutLink();
        return;
      case 1:
        victim->CrashJob();
        return;
      case 2:
        if (!kills_ || !SomebodyElseHolds(*victim)) return;
        victim->Kill();
        ++pending_;
        world_.After(world_.Upto(absl::Milliseconds(600)), [this, group = victim->group()] {
          --pending_;
          Spawn(group);
        });
        return;
      case 3:  // a second process for a group that has one
        if (!kills_ || !SomebodyElseHolds(*victim)) return;
        Spawn(victim->group());
        return;
      default:
        KillCoordinator();
        return;
    }
  }

  // It comes back within the grace period of some schedules, and after that of others.
  void KillCoordinator() {
    if (!coordinator_->up()) return;
    if (coordinator_->core().open_round() != Round(0)) ++restarts_;
    coordinator_->Kill();
    world_.After(world_.Upto(absl::Milliseconds(600)), [this] { coordinator_->StartAgain(); });
  }

  // Not so late that no audit would follow: neither of who is corrupted, nor of who gets a snapshot
  // from there and outlives it.
  void CorruptSomebody() {
    const std::vector<SimWorker*> alive = Alive();
    if (alive.empty()) return;
    alive[world_.rng.Below(alive.size())]->Corrupt(Round(kRounds - options_.audit_rounds));
  }

  // The parameters live in the workers alone: some process that holds them, and is not about to be
  // replaced, must survive every fault.
  bool SomebodyElseHolds(const SimWorker& victim) const {
    if (coordinator_->core().state(world_.now) == Coordinator::State::kAgreeing) return false;
    if (pending_ > 0) return false;
    for (const SimWorker* worker : Alive()) {
      if (worker->core() == nullptr) return false;  // about to register, and to fence another
    }
    if (coordinator_->core().open_round() == Round(0)) {
      return coordinator_->core().config().run.start_groups > 1;
    }
    for (const SimWorker* worker : Alive()) {
      const auto& groups = coordinator_->core().membership().groups();
      const auto it = groups.find(worker->group());
      if (worker->group() != victim.group() && worker->core() != nullptr &&
          worker->core()->has_state() && it != groups.end() && it->second.in_sync &&
          it->second.stream) {
        return true;
      }
    }
    return false;
  }

  bool Finished() const {
    for (uint32_t g = 1; g <= groups_; ++g) {
      bool done = false;
      for (const auto& worker : workers_) {
        done |= worker->alive() && worker->group() == GroupId(g) && worker->done();
      }
      if (!done) return false;
    }
    return corruptions_ == 0 || EqualMasters();  // the last audit may have found something
  }

  bool EqualMasters() const {
    const std::vector<uint64_t>* first = nullptr;
    for (const SimWorker* worker : Alive()) {
      if (!worker->done()) continue;
      if (first == nullptr) first = &worker->masters();
      if (*first != worker->masters()) return false;
    }
    return true;
  }

  World world_;
  uint32_t groups_ = 1;
  uint32_t buckets_ = 1;
  uint64_t faults_ = 0;
  uint64_t corruptions_ = 0;
  bool kills_ = false;
  bool coordinator_dies_ = false;
  uint64_t restarts_ = 0;
  uint64_t nonce_ = 0;
  int pending_ = 0;  // killed, not yet started again
  WorkerOptions options_;
  std::unique_ptr<SimCoordinator> coordinator_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
};

uint64_t SeedCount() {
  const char* text = std::getenv("ISTHMUS_SIM_SEEDS");
  return text == nullptr ? 2000 : std::strtoull(text, nullptr, 10);
}

TEST(SimulationTest, NothingIsLostOrAppliedTwiceUnderAnySchedule) {
  const char* only = std::getenv("ISTHMUS_SIM_SEED");
  const uint64_t begin = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
  const uint64_t end = only == nullptr ? begin + SeedCount() : begin + 1;
  uint64_t failures = 0;
  uint64_t mismatches = 0;
  uint64_t restarts = 0;
  uint64_t changes = 0;
  for (uint64_t seed = begin; seed < end && failures < 5; ++seed) {
    const Outcome outcome = Schedule(seed).Run();
    for (const std::string& violation : outcome.violations) {
      ADD_FAILURE() << "ISTHMUS_SIM_SEED=" << seed << ": " << violation;
    }
    if (!outcome.finished && outcome.violations.empty()) {
      ADD_FAILURE() << "ISTHMUS_SIM_SEED=" << seed << ": did not finish: " << outcome.where;
    }
    mismatches += outcome.mismatches;
    restarts += outcome.restarts;
    changes += outcome.changes;
    failures += !outcome.violations.empty() || !outcome.finished;
  }
  std::cout << end - begin << " schedules, audits found " << mismatches << " states that differ, "
            << restarts << " coordinators were started again in mid-run, formats changed "
            << changes << " times" << std::endl;
  // Otherwise this would not be a test of the audit, of restarts, or of changes.
  if (only == nullptr && failures == 0) {
    EXPECT_GT(mismatches, SeedCount() / 10);
    EXPECT_GT(restarts, SeedCount() / 4);
    EXPECT_GT(changes, SeedCount());
  }
}

}  // namespace
}  // namespace isthmus::sim
