// One bucket's contributions in, the update's payload out: common/compression's merge under the
// run's rules.
#ifndef ISTHMUS_SERVER_MERGE_MERGE_BUCKET_H_
#define ISTHMUS_SERVER_MERGE_MERGE_BUCKET_H_

#include <span>
#include <string>
#include <vector>

#include "common/compression/payload.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"

namespace isthmus {

// `parts[i]` are those of `contributors[i]`, which ascend by group id and cover the chunk run.
// The same bits on every machine. Empty without contributors. Thread-safe; takes milliseconds per
// million parameters.
std::string MergeContributions(const RunSpec& run, uint64_t first_chunk, uint64_t chunk_count,
                               std::span<const Contributor> contributors,
                               std::span<const std::vector<Selection>> parts);

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_MERGE_MERGE_BUCKET_H_
