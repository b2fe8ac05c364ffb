// What is measured: the codec's steps over one long vector, as worker and coordinator call them.
#ifndef ISTHMUS_CLI_BENCH_WORKLOADS_H_
#define ISTHMUS_CLI_BENCH_WORKLOADS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/compression/tile_codec.h"
#include "common/compression/update_payload.h"

namespace isthmus {

// Single-threaded, but for a codec that was made with threads.
class Workloads {
 public:
  struct Options {
    uint64_t parameters = uint64_t{16} << 20;  // whole buckets
    uint64_t bucket = uint64_t{1} << 20;       // elements
    PayloadFormat format;
    int groups = 2;  // whose contributions there are to merge
    int threads = 1;
    ParallelFor parallel = nullptr;
  };
  // Draws gradients from a seeded generator and compresses them once per group. FlexDeMo only.
  explicit Workloads(const Options& options);

  uint64_t parameters() const { return options_.parameters; }
  uint64_t components() const;  // sent by one group in a step

  // Floors: a plain copy of the gradient, and m <- b m + a g without anything else.
  void Memcpy();
  void MomentumUpdate();
  // Gradients in, payloads out: momentum update, transform, selection, quantisation, packing.
  void Compress();
  // All groups' payloads in, merged coefficients out: validation and decoding included.
  void Merge();
  // A received update in, parameters out: the own contribution is left out of it. `signs`: as the
  // coordinator encodes it, instead of the other groups' contributions.
  void ApplyContributions();
  void ApplySigns();
  void Hash();

  uint64_t payload_bytes() const;  // of one group's step
  uint64_t signs_bytes() const;    // of one step's updates
  uint64_t hash() const { return hash_; }

 private:
  uint64_t buckets() const { return options_.parameters / options_.bucket; }
  PayloadPlace place(uint64_t bucket) const;
  void ApplyView(const UpdateView& view, uint64_t bucket, const PayloadView* own);

  const Options options_;
  const UpdateFormat update_format_;
  std::vector<float> gradient_;
  std::vector<float> momentum_;  // in tiles
  std::vector<float> parameters_;
  std::vector<float> direction_;  // a batch
  TileCodec codec_;
  TileMerger merger_;
  DirectionScratch scratch_;
  std::vector<std::string> payloads_;  // [buckets] of Compress()
  std::vector<float> exact_;
  std::vector<std::vector<std::string>> received_;  // [groups][buckets]
  std::vector<std::string> signs_;                  // [buckets]
  std::vector<PayloadView> views_;                  // [groups]
  std::vector<EncodedContribution> contributions_;  // [groups]
  UpdateView update_;
  uint64_t hash_ = 0;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BENCH_WORKLOADS_H_
