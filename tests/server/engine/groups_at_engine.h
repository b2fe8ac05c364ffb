// An engine with groups that answer every round, in one process and without a network: for its
// tests and for the benchmark of what a contribution costs.
#ifndef ISTHMUS_TESTS_SERVER_ENGINE_GROUPS_AT_ENGINE_H_
#define ISTHMUS_TESTS_SERVER_ENGINE_GROUPS_AT_ENGINE_H_

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/compression/payload.h"
#include "common/run/round_format.h"
#include "server/engine/engine.h"

namespace isthmus {

// As long as what the wire says of an update, and no message.
class PlainEncoder : public UpdateEncoder {
 public:
  std::string Update(const UpdateHeader& header, std::string payload) const override {
    return std::string(16 + 16 * header.contributors.size(), 'h') + payload;
  }
  std::string Contribution(uint32_t, const std::vector<StoredPart>& parts) const override {
    std::string bytes;
    for (const StoredPart& part : parts) bytes += part.payload;
    return bytes;
  }
};

// A worker's stream, as far as the engine sees: takes frames of what is published as soon as it is.
class PlainStream : public UpdateStream {
 public:
  PlainStream(Engine* engine, Member member, std::function<void(TransferId)> asked)
      : engine_(engine), member_(member), asked_(std::move(asked)) {}

  void Say(const ToWorker& what) override {
    if (std::holds_alternative<SayStart>(what)) started_ = true;
    if (const auto* refused = std::get_if<SayRefused>(&what)) {
      MutexLock lock(&mu_);
      refused_ = refused->reason;
    }
    if (const auto* ask = std::get_if<AskForSnapshot>(&what)) asked_(ask->transfer);
  }
  void Relay(std::unique_ptr<RelayedMessage>) override {}
  void SendUpdates(Sequence from) override {
    {
      MutexLock lock(&mu_);
      next_ = from;
    }
    Poke();
  }
  void Poke() override {
    MutexLock lock(&mu_);
    while (next_ != Sequence(0) && next_ <= engine_->published()) {
      const auto read = engine_->log().Read(next_, [] {});
      ISTHMUS_CHECK(read.found == UpdateLog::Found::kHere);
      const uint64_t total = read.record->BytesFor(member_.group, member_.incarnation);
      for (uint64_t at = 0; at < total; at += kFrameBytes) {
        const uint64_t size = std::min<uint64_t>(kFrameBytes, total - at);
        bytes_ += read.record->CopyFor(member_.group, member_.incarnation, at, size).size();
        if (meter_ != nullptr) meter_->Sent(size);
        ++frames_;
      }
      ++next_;
      ++updates_;
    }
  }
  void Close(const absl::Status& status) override {
    MutexLock lock(&mu_);
    closed_ = status;
  }

  void SetMeter(std::shared_ptr<GroupMeter> meter) {
    MutexLock lock(&mu_);
    meter_ = std::move(meter);
  }
  bool started() const { return started_; }
  uint64_t updates() {
    MutexLock lock(&mu_);
    return updates_;
  }
  uint64_t frames() {
    MutexLock lock(&mu_);
    return frames_;
  }
  std::optional<absl::Status> closed() {
    MutexLock lock(&mu_);
    return closed_;
  }
  // Why the last contribution was refused for good.
  std::optional<std::string> refused() {
    MutexLock lock(&mu_);
    return refused_;
  }

 private:
  Engine* const engine_;
  const Member member_;
  const std::function<void(TransferId)> asked_;
  std::atomic<bool> started_{false};
  Mutex mu_;
  std::shared_ptr<GroupMeter> meter_ ABSL_GUARDED_BY(mu_);
  Sequence next_ ABSL_GUARDED_BY(mu_);
  uint64_t updates_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t frames_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
  std::optional<std::string> refused_ ABSL_GUARDED_BY(mu_);
};

// `groups` groups, ready and in sync; buckets of one unit each.
class GroupsAtEngine {
 public:
  static RunSpec Run(uint32_t groups) {
    RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
    run.bucket_length = kUnitLength;
    run.start_groups = groups;
    run.audit_rounds = 0;
    return run;
  }

  GroupsAtEngine(uint32_t groups, uint32_t buckets, int merge_threads = 2)
      : run_(Run(groups)),
        formats_(run_),
        buckets_(buckets),
        engine_(OptionsFor(run_, groups, merge_threads), encoder_, Clock::Real()) {
    const Layout layout = *Layout::Create(
        {{.name = "w", .shape = {static_cast<int64_t>(buckets * kUnitLength)}}}, {});
    for (uint32_t g = 1; g <= groups; ++g) Join(GroupId(g), layout);
    Synchronize();
  }
  ~GroupsAtEngine() {
    for (const Peer& peer : peers_) engine_.Closed(peer.id, "over");
  }

  Engine& engine() { return engine_; }
  uint32_t groups() const { return static_cast<uint32_t>(peers_.size()); }
  uint32_t buckets() const { return buckets_; }
  PlainStream& stream(uint32_t group) { return *peers_[group].stream; }

  // What a group sends for (round, bucket); the same for all groups.
  std::string Payload(uint64_t round, uint32_t bucket) const {
    return Payload(round, bucket, formats_.FormatAt(Round(round), GroupId(1)));
  }
  std::string Payload(uint64_t round, uint32_t bucket, const PayloadFormat& format) const {
    const ChunkRun chunks =
        ChunksOf({bucket * kUnitLength, (bucket + 1) * kUnitLength}, run_.format.chunk_size);
    Selection selection{chunks.first, chunks.count, {}, {}};
    for (uint64_t i = 0; i < chunks.count * format.k; ++i) {
      selection.indices.push_back(static_cast<uint16_t>(i % format.k * 7 + i / format.k % 5));
      selection.values.push_back((i + round) % 3 == 0 ? -0.5f : 0.5f);
    }
    return EncodePayload(format, round, selection);
  }
  // Arrives at the engine as from the group's stream; `done` gets the verdict.
  void Send(uint32_t group, uint64_t round, uint32_t bucket, std::string payload,
            std::function<void(absl::Status)> done) {
    const Peer& peer = peers_[group];
    const absl::Time now = Clock::Real().Now();
    peer.meter->Received(payload.size() + 64, now);
    peer.meter->PartFrame(Round(round), now);
    const ChunkRun chunks =
        engine_.ShapeOf(Round(round), BucketIndex(bucket), peer.member.group).value()->chunks;
    engine_.Part(peer.id, peer.member.group,
                 {Round(round),
                  BucketIndex(bucket),
                  chunks,
                  {.base_round = Round(round - 1),
                   .samples = 1,
                   .loss = 1.0f,
                   .lr = {0.1f},
                   .weight_decay = {0.0f}},
                  std::move(payload)},
                 std::move(done));
  }
  // Blocks until every group has been sent all of `round`.
  void AwaitRound(uint64_t round) {
    for (const Peer& peer : peers_) {
      while (peer.stream->updates() < round * buckets_) std::this_thread::yield();
    }
  }

 private:
  struct Peer {
    Member member;
    StreamId id;
    std::shared_ptr<PlainStream> stream;
    std::shared_ptr<GroupMeter> meter;
  };

  static Engine::Options OptionsFor(const RunSpec& run, uint32_t groups, int merge_threads) {
    Engine::Options options;
    options.core.run = run;
    options.core.max_groups = groups;
    options.merge_threads = merge_threads;
    return options;
  }

  void Join(GroupId group, const Layout& layout) {
    const auto registered =
        engine_.Register({.versions = kProtocolVersions, .group = group, .nonce = 1});
    ISTHMUS_CHECK(registered.ok());
    const Member member{group, registered->incarnation};
    const StreamId id = engine_.NewStreamId();
    const auto stream =
        std::make_shared<PlainStream>(&engine_, member, [this](TransferId transfer) {
          MutexLock lock(&mu_);
          asked_.push_back(transfer);
        });
    const auto meter = engine_.Opened(id, stream, {member, engine_.config().instance, Sequence(0)});
    ISTHMUS_CHECK(meter.ok());
    stream->SetMeter(*meter);
    peers_.push_back({member, id, stream, *meter});
    ISTHMUS_CHECK(engine_.Ready(member, 1, layout).ok());
  }
  // Plays every joiner: says that it has caught up with whatever transfer is asked for.
  void Synchronize() {
    const auto all_started = [&] {
      return std::ranges::all_of(peers_, [](const Peer& peer) { return peer.stream->started(); });
    };
    while (!all_started()) {
      std::vector<TransferId> asked;
      {
        MutexLock lock(&mu_);
        asked.swap(asked_);
      }
      for (TransferId transfer : asked) {
        for (const Peer& peer : peers_) {
          if (!peer.stream->started()) (void)engine_.CaughtUp(peer.id, transfer, Sequence(0));
        }
      }
    }
  }

  const RunSpec run_;
  const RoundFormats formats_;
  const uint32_t buckets_;
  const PlainEncoder encoder_;
  Mutex mu_;
  std::vector<TransferId> asked_ ABSL_GUARDED_BY(mu_);
  Engine engine_;
  std::vector<Peer> peers_;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_SERVER_ENGINE_GROUPS_AT_ENGINE_H_
