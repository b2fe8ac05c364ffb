#include "server/merge/merge_bucket.h"

#include "common/base/check.h"
#include "common/compression/merge.h"
#include "common/compression/update_payload.h"

namespace isthmus {

std::string MergeContributions(const RunSpec& run, uint64_t first_chunk, uint64_t chunk_count,
                               std::span<const Contributor> contributors,
                               std::span<const std::vector<Selection>> parts) {
  ISTHMUS_CHECK(contributors.size() == parts.size());
  if (contributors.empty()) return "";
  std::vector<uint64_t> samples;
  for (const Contributor& contributor : contributors) samples.push_back(contributor.samples);
  const std::vector<float> weights = MergeWeights(samples);
  std::vector<MergeInput> inputs;
  for (size_t i = 0; i < parts.size(); ++i) inputs.push_back({weights[i], parts[i]});
  return EncodeUpdate(MergedFormat(run),
                      Merge(run.merge, run.chunk_size, run.k, first_chunk, chunk_count, inputs));
}

}  // namespace isthmus
