// One bucket's contributions in, the update out: common/compression's merge under the run's rules.
#ifndef ISTHMUS_SERVER_MERGE_MERGE_BUCKET_H_
#define ISTHMUS_SERVER_MERGE_MERGE_BUCKET_H_

#include <span>
#include <string>
#include <vector>

#include "common/compression/payload.h"
#include "common/run/round_format.h"
#include "common/run/update.h"
#include "server/merge/contribution_store.h"

namespace isthmus {

// True if the contributions themselves are a smaller update than any other encoding, for a receiver
// that is one of the contributors and so lacks all but its own (docs/protocol.md, P20). It merges
// them itself then.
bool ForwardContributions(const RoundFormats& formats, const PayloadPlace& place,
                          std::span<const std::vector<StoredPart>> parts);

// `parts[i]` are those of `contributors[i]`, which ascend by group id and cover `place`. The same
// bits on every machine. Empty without contributors. Thread-safe; takes milliseconds per million
// parameters. CHECKs that the parts are valid.
std::string MergeContributions(const RoundFormats& formats, const PayloadPlace& place,
                               std::span<const Contributor> contributors,
                               std::span<const std::vector<StoredPart>> parts);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_MERGE_MERGE_BUCKET_H_
