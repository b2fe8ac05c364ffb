// Both ends of a snapshot: cutting a state into pieces, of the blocks that the joiner does not hold
// already, and putting them together on top of what it holds (docs/protocol.md, P15).
#ifndef ISTHMUS_COMMON_EXCHANGE_SNAPSHOT_H_
#define ISTHMUS_COMMON_EXCHANGE_SNAPSHOT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/exchange/messages.h"
#include "common/exchange/state_image.h"

namespace isthmus {

// Sent before it is known what the joiner holds: what tells the link's rate meanwhile, and lets TCP
// begin to grow. A thin link's window keeps it from being more than what is needed for that.
inline constexpr uint64_t kBeforeHeldBytes = 48 << 10;

// A snapshot on its way out. What the joiner holds may be known before or after the state is
// copied. Thread-compatible.
class OutgoingSnapshot {
 public:
  // At most `window_bytes` are under way, not yet taken by the joiner's stream.
  OutgoingSnapshot(TransferId transfer, uint64_t window_bytes)
      : transfer_(transfer), window_bytes_(window_bytes) {}

  TransferId transfer() const { return transfer_; }
  // The state as of `sequence`, and its HashBlocks().
  struct State {
    Sequence sequence;
    Round round;
    std::vector<Round> applied_rounds;
    StateImage image;
    std::vector<uint64_t> block_hashes;
    RunTotals totals = {};
    std::vector<FormatChange> formats = {};
  };
  void SetState(State state) { state_ = std::move(state); }
  // The joiner's HashBlocks(); of another number: it holds nothing of the kind.
  void SetHeld(std::vector<uint64_t> block_hashes) { held_ = std::move(block_hashes); }
  void Taken(uint64_t bytes) { taken_ = std::max(taken_, std::min(bytes, sent_)); }

  // The next piece of at most `most_bytes`, if the window allows one. An empty last one says that
  // the joiner held the rest.
  std::optional<SnapshotPiece> Next(uint64_t most_bytes);

 private:
  bool Holds(uint64_t block) const;
  // Where the first byte lies, at or after `offset_`, that is to be sent; the state's size if none.
  uint64_t NextOffset() const;

  TransferId transfer_;
  uint64_t window_bytes_;
  std::optional<State> state_;
  std::optional<std::vector<uint64_t>> held_;
  uint64_t offset_ = 0;
  uint64_t sent_ = 0;
  uint64_t taken_ = 0;
  bool begun_ = false;
  bool done_ = false;
};

struct WholeSnapshot {
  TransferId transfer;
  Sequence sequence;
  std::vector<Round> applied_rounds;
  std::shared_ptr<const StateImage> image;
  RunTotals totals;
  std::vector<FormatChange> formats;
};

// A snapshot on its way in. What has come of one that broke off is kept, as what this group holds
// when the next is offered: nothing of it is sent twice while the donor's state stays the same.
// Thread-compatible.
class IncomingSnapshot {
 public:
  // Another transfer begins; pieces of those before are passed over. Returns true if nothing is
  // held here that is of `state_bytes`: SetHeld() follows, in its own time.
  bool Offered(TransferId transfer, uint64_t state_bytes);
  // The state that the group has, and its HashBlocks(). For `transfer`, if that is still the one.
  void SetHeld(TransferId transfer, StateImage image, std::vector<uint64_t> block_hashes);
  // HashBlocks() of what is held for `transfer`; none once it is no longer the one.
  std::optional<std::vector<uint64_t>> Held(TransferId transfer);
  // `transfer` was given up.
  void Aborted(TransferId transfer);
  // The group's state is the run's: nothing more is kept.
  void Drop() { *this = IncomingSnapshot(); }

  // The snapshot that `piece` completes, if it does. Errors: INVALID_ARGUMENT for another size than
  // `state_bytes`; DATA_LOSS for pieces out of order, more than kBeforeHeldBytes before SetHeld(),
  // or a whole that is not what the donor says.
  absl::StatusOr<std::optional<WholeSnapshot>> Add(SnapshotPiece piece, uint64_t state_bytes);

 private:
  absl::Status Take(const SnapshotPiece& piece);
  void Rehash(uint64_t block);
  void RehashTouched();  // few: blocks that have come whole are hashed at once

  std::optional<TransferId> transfer_;
  bool held_ = false;  // `bytes_` are a state: what is held, under what has come
  std::string bytes_;
  std::vector<uint64_t> hashes_;
  std::vector<bool> touched_;         // blocks whose hash is out of date
  std::vector<SnapshotPiece> early_;  // that came before SetHeld()
  uint64_t early_bytes_ = 0;
  bool begun_ = false;
  uint64_t offset_ = 0;  // where the next piece may begin
  Sequence sequence_;
  std::vector<Round> applied_rounds_;
  RunTotals totals_;
  std::vector<FormatChange> formats_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_SNAPSHOT_H_
