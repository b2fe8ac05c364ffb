// The status of a run.

#include "server/engine/engine.h"

namespace isthmus {
namespace {

// In one word or two.
const char* StateOf(const GroupState& group) {
  if (group.left) return "gone";
  if (group.active() && group.silent) return "silent";
  if (group.active() && group.too_slow) return "too slow";
  if (group.active()) return "active";
  if (group.in_sync) return group.ready ? "ready" : "waiting for its job";
  return group.ready ? "syncing" : "registered";
}

}  // namespace

StatusView Engine::Status() {
  StatusView view;
  std::map<GroupId, GroupState> groups;
  std::map<GroupId, std::shared_ptr<GroupMeter>> meters;
  std::map<GroupId, WorkerReport> reports;
  absl::Time now;
  absl::Time training_began;
  uint64_t samples_merged = 0;
  {
    // Copies only: what they are made into takes no lock.
    MutexLock lock(&mu_);
    now = clock_.Now();
    view.epoch = core_.membership().epoch();
    view.state = core_.state(now);
    view.waiting_reason = core_.WaitingReason(now);
    view.round = core_.open_round();
    view.sequence = core_.last_sequence();
    if (core_.layout()) view.parameters = core_.layout()->logical_length();
    view.buckets = core_.buckets().count();
    view.counters = core_.counters();
    view.rejected = rejected_;
    view.loss = core_.last_loss();
    view.deadline = core_.deadline();
    view.events = events_;
    view.rounds = rounds_;
    view.decision = core_.paced();
    view.pace_frozen = core_.frozen();
    groups = core_.membership().groups();
    meters = meters_;
    reports = reports_;
    training_began = training_began_;
    samples_merged = samples_merged_;
    for (const auto& [id, group] : groups) {
      GroupView& g = view.groups.emplace_back();
      g.awaited = core_.round().awaited().contains(id);
      g.buckets_received = core_.round().CompleteBuckets(id);
    }
  }
  view.instance = options_.core.instance;
  view.run = options_.core.run;
  view.paced = options_.core.pace.has_value();
  view.now = now;
  view.uptime = now - started_;
  view.log_bytes = log_->bytes();
  if (now > training_began) {
    view.samples_per_second =
        static_cast<double>(samples_merged) / absl::ToDoubleSeconds(now - training_began);
  }
  size_t index = 0;
  for (auto& [id, group] : groups) {
    GroupView& g = view.groups[index++];
    g.id = id;
    g.incarnation = group.incarnation;
    g.label = std::move(group.label);
    g.state = StateOf(group);
    g.connected = group.stream.has_value();
    g.ranks = group.ranks;
    g.contributions_merged = group.contributions_merged;
    g.contributions_late = group.contributions_late;
    g.loss = group.last_loss;
    g.last_event = std::move(group.last_event);
    if (const auto meter = meters.find(id); meter != meters.end()) {
      g.bytes_up = meter->second->bytes_up();
      g.bytes_down = meter->second->bytes_down();
      g.up = meter->second->up();
      g.round_trip = meter->second->round_trip();
      const absl::Time heard = meter->second->heard();
      if (heard != absl::InfinitePast()) g.since_heard = now - heard;
    }
    if (const auto report = reports.find(id); report != reports.end()) g.report = report->second;
  }
  return view;
}

}  // namespace isthmus
