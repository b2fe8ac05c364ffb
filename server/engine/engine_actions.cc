// Performing what the coordinator's core decides.

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/check.h"
#include "common/telemetry/log.h"
#include "server/engine/engine.h"
#include "server/engine/merge_threads.h"
#include "server/merge/merge_bucket.h"

namespace isthmus {
namespace {

constexpr size_t kMaxEvents = 256;  // remembered for status

}  // namespace

void Engine::Say(StreamId stream, const ToWorker& what) {
  if (const auto to = Find(stream)) to->Say(what);
}

// --- merging and the log -----------------------------------------------------------------------

void Engine::Perform(const MergeBucket& merge) {
  std::vector<std::vector<StoredPart>> parts;
  {
    MutexLock lock(&mu_);
    for (const Contributor& c : merge.update.contributors) {
      parts.push_back(store_.Take(c.group, merge.update.round, merge.update.bucket));
      if (merge.update.bucket == BucketIndex(0)) samples_merged_ += c.samples;
    }
  }
  threads_->Post([this, merge, grid = grid(), parts = std::move(parts)] {
    const Round round = merge.update.round;
    const Extent bucket = grid->buckets.bucket(merge.update.bucket);
    const PayloadPlace place{round.value(), grid->formats.ChunksAt(round, bucket)};
    Merged(merge.update.sequence, Merge(merge, grid->formats, place, parts));
  });
}

std::shared_ptr<const UpdateRecord> Engine::Merge(
    const MergeBucket& merge, const RoundFormats& formats, const PayloadPlace& place,
    const std::vector<std::vector<StoredPart>>& parts) const {
  const std::vector<Contributor>& contributors = merge.update.contributors;
  auto record = std::make_shared<UpdateRecord>();
  if (ForwardContributions(formats, place, parts)) {
    for (size_t i = 0; i < parts.size(); ++i) {
      record->contributions.push_back({contributors[i].group, contributors[i].incarnation,
                                       encoder_.Contribution(static_cast<uint32_t>(i), parts[i])});
    }
    record->bytes = encoder_.Update(merge.update, "");
  } else {
    record->bytes =
        encoder_.Update(merge.update, MergeContributions(formats, place, contributors, parts));
  }
  for (size_t i = 0; i < merge.waited.size(); ++i) {
    record->waited.emplace_back(contributors[i].group, merge.waited[i]);
  }
  return record;
}

void Engine::Perform(const Append& append) {
  std::shared_ptr<const UpdateRecord> record;
  {
    MutexLock lock(&mu_);
    log_->KeepAtLeast(core_.buckets().count());
    auto node = merged_.extract(append.sequence);
    ISTHMUS_CHECK(!node.empty());
    record = std::move(node.mapped());
  }
  log_->Append(append.sequence, std::move(record),
               [this, sequence = append.sequence] { Appended(sequence); });
}

void Engine::Perform(const Publish& publish) {
  published_.store(publish.sequence.value());
  std::shared_ptr<const Streams> streams;
  {
    MutexLock lock(&mu_);
    streams = publish_to_;
  }
  for (const std::shared_ptr<UpdateStream>& stream : *streams) stream->Poke();
}

// --- streams -----------------------------------------------------------------------------------

void Engine::Perform(const SendUpdates& updates) {
  if (const auto stream = Find(updates.stream)) stream->SendUpdates(updates.from);
}

void Engine::Perform(const SendStart& start) {
  {
    MutexLock lock(&mu_);
    training_began_ = std::min(training_began_, clock_.Now());
  }
  Say(start.stream, SayStart{start.group_index, start.group_count, start.open_round});
}

void Engine::Perform(const SendDue& due) { Say(due.stream, SayDue{due.round}); }

void Engine::Perform(const SendClosed& closed) {
  Say(closed.stream, SayClosed{closed.round, closed.bucket});
}

void Engine::Perform(const CloseStream& close) {
  if (const auto stream = Find(close.stream)) stream->Close(close.status);
}

void Engine::Perform(const StartTransfer& transfer) {
  {
    MutexLock lock(&mu_);
    relays_[transfer.transfer] = {transfer.donor, transfer.joiner};
  }
  Say(transfer.donor,
      AskForSnapshot{transfer.transfer, options_.snapshot_window_bytes, transfer.at_least});
  // Only then: what the joiner answers must not overtake the request.
  Say(transfer.joiner, OfferSnapshot{transfer.transfer});
}

void Engine::Perform(const AbortTransfer& abort) {
  {
    MutexLock lock(&mu_);
    relays_.erase(abort.transfer);
  }
  for (StreamId id : {abort.donor, abort.joiner}) {
    Say(id, SaySnapshotAborted{abort.transfer, abort.reason});
  }
}

void Engine::Perform(const DropContribution&) {}  // done where it was decided: Step()

// --- what happened -----------------------------------------------------------------------------

void Engine::Perform(const Happened& happened) { Tell(happened.event); }

void Engine::Tell(Event event) {
  LogInfo(EventText(event));
  MutexLock lock(&mu_);
  events_.push_back({clock_.Now(), ++event_count_, std::move(event)});
  if (events_.size() > kMaxEvents) events_.pop_front();
}

}  // namespace isthmus
