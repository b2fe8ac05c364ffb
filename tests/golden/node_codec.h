// One node's side of a replay: its momentum, by the code that daemons run where they run such
// blocks, else in plain rows.
#ifndef ISTHMUS_TESTS_GOLDEN_NODE_CODEC_H_
#define ISTHMUS_TESTS_GOLDEN_NODE_CODEC_H_

#include <memory>
#include <vector>

#include "common/compression/block_transform.h"
#include "common/compression/tile_codec.h"
#include "tests/golden/comparison.h"
#include "tests/golden/replica.h"

namespace isthmus {

// `blocks` blocks in block order.
class NodeCodec {
 public:
  // `daemons_run_it`: the blocks are one row of IsChunkSize().
  NodeCodec(const PayloadFormat& format, const BlockTransform& transform, bool daemons_run_it,
            float decay, size_t blocks);

  // Adds scale times the transformed gradient, and takes out what is sent.
  Sent Step(const PayloadPlace& place, float scale, const std::vector<float>& gradient,
            Comparison& comparison);

  // In rows, in the frequency domain.
  std::vector<float> Momentum() const;

 private:
  const PayloadFormat format_;
  const BlockTransform& transform_;
  const float decay_;
  const size_t length_;
  std::unique_ptr<TileCodec> tiles_;  // null: demo_codec.h
  std::vector<float> momentum_;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GOLDEN_NODE_CODEC_H_
