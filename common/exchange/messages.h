// What crosses an exchange stream, as plain values: both ends know these, whatever carries them.
#ifndef ISTHMUS_COMMON_EXCHANGE_MESSAGES_H_
#define ISTHMUS_COMMON_EXCHANGE_MESSAGES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "common/run/update.h"
#include "common/tensor/chunk_run.h"

namespace isthmus {

// An update as received: its header and, unless nobody contributed, either an encoded payload or
// the contributions themselves.
struct ReceivedUpdate {
  struct Contribution {
    uint32_t contributor = 0;        // index into the header's contributors
    std::vector<std::string> parts;  // common/compression/payload.h
  };
  UpdateHeader header;
  std::string payload;  // common/compression/update_payload.h
  std::vector<Contribution> contributions;
};

// One rank's encoded part of a contribution.
struct ContributionPart {
  Round round;
  BucketIndex bucket;
  uint32_t rank = 0;
  ChunkRun chunks;
  std::shared_ptr<const std::string> payload;  // common/compression/payload.h
};

// A part to send, and what came with it. Shared with the outbox that may send it again.
struct OutgoingPart {
  ContributionPart part;
  ContributionInfo info;
};

// A part as it has arrived, its payload not yet looked at.
struct WholePart {
  Round round;
  BucketIndex bucket;
  ChunkRun chunks;
  ContributionInfo info;
  std::string payload;  // common/compression/payload.h
};

// A piece of a snapshot: bytes of a state from `offset` on.
struct SnapshotPiece {
  TransferId transfer;
  Sequence sequence;
  Round round;
  uint64_t total_bytes = 0;
  uint64_t offset = 0;
  std::string data;
  std::vector<Round> applied_rounds;  // in the first: last round applied, per bucket
  bool last = false;                  // nothing follows
  uint64_t state_hash = 0;            // with `last`: StateHashOf() the whole (state_image.h)
  RunTotals totals = {};              // in the first: of the run, as the state has it
  std::vector<FormatChange> formats =
      {};  // in the first: of coming rounds, as the donor knows them
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_MESSAGES_H_
