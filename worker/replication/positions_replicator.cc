#include "common/base/check.h"
#include "common/kernels/simd.h"
#include "worker/replication/row_replicator.h"

namespace isthmus {

std::unique_ptr<Replicator> MakePositionsReplicator(const RunSpec& run, const Buckets& buckets,
                                                    const ReplicatorPlace& place) {
  ISTHMUS_CHECK(HasPositions(run.chunk_size, run.k));
  return std::make_unique<RowReplicator>(
      run, run.alpha, buckets, place,
      [decay = run.decay](std::span<const float> gradient, float scale, std::span<float> momentum) {
        ActiveKernels().accumulate_flat(decay, scale, gradient.data(), momentum.data(),
                                        momentum.size());
      });
}

}  // namespace isthmus
