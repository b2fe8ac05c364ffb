#include "common/compression/dct.h"
#include "tests/golden/node_codec.h"
#include "tests/golden/replay.h"
#include "tests/golden/replica.h"

namespace isthmus {
namespace {

// One shard of one case: R nodes that hold a vector each. With S > 1 shards the codec sees S
// separate 1-D vectors (P4).
class ShardReplay {
 public:
  ShardReplay(const GoldenCase& golden, size_t shard, Comparison& comparison);
  void Step(int step);

 private:
  // Where the recording of (step, node) begins in an array of steps x nodes x shards x `length`.
  size_t Begin(int step, size_t node, size_t length) const {
    return ((static_cast<size_t>(step) * nodes_ + node) * shards_ + shard_) * length;
  }
  size_t Begin(int step, size_t length) const {  // the same for steps x shards x `length`
    return (static_cast<size_t>(step) * shards_ + shard_) * length;
  }
  std::vector<float> Gradient(int step, size_t node) const;
  void CompareSelection(int step, size_t node, const Selection& taken);
  void CompareResidual(int step, size_t node);
  bool DaemonsRunIt() const { return block_[0] == 1 && IsChunkSize(block_[1]); }
  // By the daemons' path where they run such blocks; else the same in place.
  std::vector<float> DirectionOf(const PayloadPlace& place, const std::vector<Sent>& sent,
                                 const MergedBucket& merged);
  std::vector<float> Decode(std::span<const float> coefficients) const;  // in tensor order

  const GoldenCase& golden_;
  const nlohmann::json& manifest_;
  Comparison& comparison_;
  const size_t nodes_;
  const size_t shard_;
  const size_t shards_;
  const std::vector<int> view_;   // rows, cols
  const std::vector<int> block_;  // rows, cols
  const BlockGrid grid_;
  const BlockTransform transform_;
  const PayloadFormat format_;
  std::vector<NodeCodec> codecs_;  // per node
  Replica replica_;
};

std::vector<int> ViewOf(const nlohmann::json& manifest) {
  if (manifest.at("shards") != 1) return {1, manifest.at("shard_len")};
  std::vector<int> view = manifest.at("view");
  if (view.size() == 1) view.insert(view.begin(), 1);
  return view;
}

// By the rule of the README, which the manifest must confirm.
std::vector<int> BlockOf(const nlohmann::json& manifest, const std::vector<int>& view,
                         Comparison& comparison) {
  const int chunk = manifest.at("chunk");
  const std::vector<int> block = {BlockLength(view[0], chunk), BlockLength(view[1], chunk)};
  std::vector<int> recorded = manifest.at("block");
  if (recorded.size() == 1) recorded.insert(recorded.begin(), 1);
  if (recorded != block) {
    comparison.Fail(absl::StrCat("block: expected ", recorded[0], "x", recorded[1], ", got ",
                                 block[0], "x", block[1]));
  }
  return block;
}

PayloadFormat FormatOf(const nlohmann::json& manifest, const BlockTransform& transform) {
  return {Transform::kDct,
          static_cast<uint32_t>(transform.block_size()),
          manifest.at("k_used").get<uint32_t>(),
          ValueFormat::kF32,
          Positions::kChosen,
          0};
}

ShardReplay::ShardReplay(const GoldenCase& golden, size_t shard, Comparison& comparison)
    : golden_(golden),
      manifest_(golden.manifest()),
      comparison_(comparison),
      nodes_(manifest_.at("nodes")),
      shard_(shard),
      shards_(manifest_.at("shards")),
      view_(ViewOf(manifest_)),
      block_(BlockOf(manifest_, view_, comparison)),
      grid_(view_[0], view_[1], block_[0], block_[1]),
      transform_(block_[0], block_[1]),
      format_(FormatOf(manifest_, transform_)),
      replica_(golden, shard, shards_, grid_.size()) {
  for (size_t node = 0; node < nodes_; ++node) {
    codecs_.emplace_back(format_, transform_, DaemonsRunIt(), manifest_.at("decay"),
                         grid_.block_count());
  }
}

// The mean of the node's S gradients, padded, of which the shard takes its part.
std::vector<float> ShardReplay::Gradient(int step, size_t node) const {
  const size_t length = grid_.size();
  const size_t whole = golden_.array("param0").size();
  std::vector<float> gradient(length);
  for (size_t i = 0; i < length && shard_ * length + i < whole; ++i) {
    double sum = 0.0;
    for (size_t gpu = 0; gpu < shards_; ++gpu) {
      const size_t row = (static_cast<size_t>(step) * nodes_ + node) * shards_ + gpu;
      sum += golden_.array("grad").at(row * whole + shard_ * length + i);
    }
    gradient[i] = static_cast<float>(sum / static_cast<double>(shards_));
  }
  return gradient;
}

void ShardReplay::CompareSelection(int step, size_t node, const Selection& taken) {
  std::vector<uint16_t> indices = taken.indices;
  if (indices.empty()) {  // everything is sent
    for (size_t i = 0; i < taken.values.size(); ++i) {
      indices.push_back(static_cast<uint16_t>(i % format_.chunk_size));
    }
  }
  const size_t begin = Begin(step, node, indices.size());
  comparison_.Expect("sel_idx", begin, indices, 0.0);
  comparison_.Expect("sel_val", begin, taken.values,
                     4e-6 * manifest_.at("scale_of").at("delta").get<double>());
}

void ShardReplay::CompareResidual(int step, size_t node) {
  const int stored = StoredIndex(golden_, step);
  if (stored < 0) return;
  comparison_.Expect("delta", Begin(stored, node, grid_.size()), Decode(codecs_[node].Momentum()),
                     4e-6 * manifest_.at("scale_of").at("delta").get<double>());
}

std::vector<float> ShardReplay::Decode(std::span<const float> coefficients) const {
  std::vector<float> blocks(grid_.size());
  std::vector<float> tensor(grid_.size());
  transform_.Inverse(coefficients, blocks);
  grid_.Scatter(blocks, tensor);
  return tensor;
}

std::vector<float> ShardReplay::DirectionOf(const PayloadPlace& place,
                                            const std::vector<Sent>& sent,
                                            const MergedBucket& merged) {
  const bool sign = manifest_.at("sign");
  if (!DaemonsRunIt()) {
    std::vector<float> u = Decode(merged.coefficients);
    for (float& value : u) {
      if (sign) value = value > 0 ? 1.0f : value < 0 ? -1.0f : 0.0f;
    }
    return u;
  }
  std::vector<float> u(grid_.size());
  grid_.Scatter(
      DirectionByDaemons({format_, MergeRule::kSenderMean, sign}, place, sent, comparison_), u);
  return u;
}

void ShardReplay::Step(int step) {
  const PayloadPlace place{static_cast<uint64_t>(step), {0, grid_.block_count()}};
  std::vector<Sent> sent;
  std::vector<float> blocks(grid_.size());
  for (size_t node = 0; node < nodes_; ++node) {
    grid_.Gather(Gradient(step, node), blocks);
    // Parity with the public code: the learning rate is inside the momentum.
    sent.push_back(codecs_[node].Step(place, manifest_.at("lr"), blocks, comparison_));
    CompareSelection(step, node, sent.back().said);
    CompareResidual(step, node);
  }
  const MergedBucket merged = MergeSent(MergeRule::kSenderMean, format_, place, sent, comparison_);
  if (const int stored = StoredIndex(golden_, step); stored >= 0) {
    comparison_.Expect("agg", Begin(stored, grid_.size()), Decode(merged.coefficients),
                       4e-6 * manifest_.at("scale_of").at("agg").get<double>());
  }
  replica_.Apply(step, DirectionOf(place, sent, merged), comparison_);
}

}  // namespace

void ReplayDemo(const GoldenCase& golden, Comparison& comparison) {
  const nlohmann::json& manifest = golden.manifest();
  for (size_t shard = 0; shard < manifest.at("shards"); ++shard) {
    ShardReplay replay(golden, shard, comparison);
    if (!comparison.difference().empty()) return;  // the geometry differs
    for (int step = 0; step < manifest.at("steps"); ++step) replay.Step(step);
  }
}

}  // namespace isthmus
