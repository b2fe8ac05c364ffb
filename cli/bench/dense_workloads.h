// What is measured of local steps that send all elements in two bits: a rank's part of an exchange
// over one long vector, as a worker with one rank calls it.
#ifndef ISTHMUS_CLI_BENCH_DENSE_WORKLOADS_H_
#define ISTHMUS_CLI_BENCH_DENSE_WORKLOADS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/compression/update_payload.h"

namespace isthmus {

// Single-threaded.
class DenseWorkloads {
 public:
  struct Options {
    uint64_t parameters = uint64_t{16} << 20;  // whole buckets
    uint64_t bucket = uint64_t{1} << 20;       // elements
  };
  // The job has gone a small normal way from normal masters. Others have gone other ways: one whose
  // contribution is forwarded, and as many as make an update that is quantized again.
  explicit DenseWorkloads(const Options& options);

  uint64_t parameters() const { return options_.parameters; }

  // A copy of the job's parameters.
  void Memcpy();
  // How far the job has gone, and that all of it is usable.
  void Progress();
  // The same, and what of it and of the momentum is sent: job's buffers in, payloads out.
  void Upload();
  // A received update in, masters out: the other group's contribution and the own one; or a mean of
  // several groups, quantized again.
  void ApplyForwarded();
  void ApplyRequantized();

  uint64_t payload_bytes() const;      // of one group's step
  uint64_t requantized_bytes() const;  // of one step's updates
  uint64_t hash() const;               // of masters, momentum and payloads

 private:
  uint64_t buckets() const { return options_.parameters / options_.bucket; }
  PayloadPlace place(uint64_t bucket) const;
  std::span<float> Of(std::vector<float>& vector, uint64_t bucket) const {
    return std::span(vector).subspan(bucket * options_.bucket, options_.bucket);
  }
  // Of a bucket, into progress_.
  bool TakeIn(uint64_t bucket);
  void ApplyView(const UpdateView& view, uint64_t bucket, const PayloadView* own);

  const Options options_;
  const UpdateFormat format_;
  std::vector<float> masters_;
  std::vector<float> job_;  // what the job holds
  std::vector<float> momentum_;
  std::vector<float> copy_;      // of a memcpy
  std::vector<float> progress_;  // of a bucket
  std::vector<float> direction_;
  PayloadWriter writer_;
  DirectionScratch scratch_;
  std::vector<std::string> payloads_;     // [buckets] of Upload()
  std::vector<std::string> others_;       // [buckets] of another group
  std::vector<std::string> requantized_;  // [buckets]
  std::vector<EncodedContribution> contributions_;
  UpdateView update_;
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BENCH_DENSE_WORKLOADS_H_
