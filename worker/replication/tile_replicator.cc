#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/kernels/simd.h"
#include "worker/replication/replicator.h"
#include "worker/replication/shard_momentum.h"

namespace isthmus {
namespace {

class TileReplicator : public Replicator {
 public:
  TileReplicator(const RunSpec& spec, const Shard& shard, const ReplicatorPlace& place)
      : place_(place),
        policy_(PolicyOf(spec)),
        momentum_(MomentumLayout::kTiles, true, shard, spec.format.chunk_size) {}

  void Accumulate(const PayloadFormat& format, size_t run, std::span<const float> gradient,
                  float lr) override {
    momentum_.Cut(run, format.chunk_size);
    CodecFor(format).Accumulate(policy_.Scale(lr), gradient, momentum_.of(run));
  }

  Extraction AccumulateAndExtract(const PayloadFormat& format, Round round, size_t run,
                                  std::span<const float> gradient, float lr) override {
    momentum_.Cut(run, format.chunk_size);
    Extraction taken{.format = format};
    std::string payload;
    CodecFor(format).AccumulateAndExtract(momentum_.place(round, run), policy_.Scale(lr), gradient,
                                          momentum_.of(run), &payload, &taken.exact);
    taken.payload = std::make_shared<const std::string>(std::move(payload));
    return taken;
  }

  void Return(Round round, size_t run, const Extraction& taken) override {
    const auto view = PayloadView::ParseTrusted(std::as_bytes(std::span(*taken.payload)),
                                                taken.format, momentum_.place(round, run));
    ISTHMUS_CHECK(view.ok());  // our own
    CodecFor(taken.format).Return(*view, taken.exact, momentum_.of(run));
  }

  void Reset() override { momentum_.Reset(); }

 private:
  // Made anew where the format is another than last time.
  TileCodec& CodecFor(const PayloadFormat& format) {
    if (!codec_ || format != format_) {
      codec_.emplace(format, DemoDials{.decay = policy_.decay, .alpha = policy_.alpha},
                     ActiveKernels(), place_.threads, place_.parallel);
      format_ = format;
    }
    return *codec_;
  }

  const ReplicatorPlace place_;
  const ExchangePolicy policy_;
  PayloadFormat format_;  // of codec_
  std::optional<TileCodec> codec_;
  ShardMomentum momentum_;
};

}  // namespace

std::unique_ptr<Replicator> MakeTileReplicator(const RunSpec& spec, const Shard& shard,
                                               const ReplicatorPlace& place) {
  return std::make_unique<TileReplicator>(spec, shard, place);
}

}  // namespace isthmus
