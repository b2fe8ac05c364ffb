#include "common/pace/round_cost.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/compression/payload.h"
#include "common/compression/update_payload.h"
#include "common/run/update.h"
#include "common/tensor/buckets.h"

namespace isthmus {
namespace {

constexpr uint64_t kUnit = 4096;  // elements: the flat vector is whole ones (P1)
// Of a frame beside its data: HTTP/2 and gRPC (14 bytes and more for what is longer), the message's
// own fields; and of a whole part or update what comes with it once.
constexpr uint64_t kOfFrame = 48;
constexpr uint64_t kOfBucket = 64;

uint64_t Framed(uint64_t bytes) {
  return bytes + kOfBucket + kOfFrame * ((bytes + kFrameBytes - 1) / kFrameBytes);
}

// What everybody is told of a merge, unless contributions themselves are smaller (P20).
uint64_t MergedBytes(const UpdateFormat& merged, uint64_t chunks, uint32_t groups) {
  const PayloadFormat& one = merged.contribution;
  if (merged.sign || merged.requantized) return SmallestUpdateBytes(merged, chunks);
  UpdateFormat all = merged;
  all.contribution.k =
      static_cast<uint32_t>(std::min<uint64_t>(one.chunk_size, uint64_t{groups} * one.k));
  return SmallestUpdateBytes(all, chunks);
}

absl::Duration Take(uint64_t bytes, double rate) {
  return absl::Seconds(static_cast<double>(bytes) / rate);
}

}  // namespace

RoundBytes BytesOfRound(const RunSpec& run, uint64_t parameters, uint32_t groups) {
  ISTHMUS_CHECK(parameters > 0 && groups > 0);
  const uint64_t length = (parameters + kUnit - 1) / kUnit * kUnit;
  const auto buckets = Buckets::Create(length, run.bucket_length);
  ISTHMUS_CHECK(buckets.ok());
  if (run.scheme == Scheme::kNone) return {.buckets = buckets->count()};
  const RoundFormats formats(run);
  const PayloadFormat format = formats.FormatAt(Round(1), GroupId(1));
  const UpdateFormat merged = formats.MergedAt(Round(1));
  RoundBytes bytes{.buckets = buckets->count()};
  for (uint32_t b = 0; b < buckets->count(); ++b) {
    const uint64_t chunks = formats.ChunksAt(Round(1), buckets->bucket(BucketIndex(b))).count;
    const uint64_t one = PayloadBytes(format, chunks);
    const uint64_t others = one * (groups - 1);
    bytes.up += Framed(one);
    bytes.down += Framed(std::min(others, MergedBytes(merged, chunks, groups)));
  }
  return bytes;
}

absl::Duration ExchangeTime(const RoundBytes& bytes, const std::vector<Path>& paths,
                            const Path& path) {
  // The coordinator has a round's first bucket, and its last, when the slowest site has sent it.
  absl::Duration first, last;
  for (const Path& site : paths) {
    const absl::Duration there = site.round_trip / 2;
    first = std::max(first, Take(bytes.up / bytes.buckets, site.up) + there);
    last = std::max(last, Take(bytes.up, site.up) + there);
  }
  const absl::Duration down = Take(bytes.down, path.down);
  return std::max(first + down, last + down / bytes.buckets) + path.round_trip / 2;
}

StepCost CostOfStep(absl::Duration compute, absl::Duration exchange, uint32_t period,
                    uint32_t overlap) {
  const absl::Duration blocked =
      std::max(absl::ZeroDuration(), exchange - overlap * compute) / period;
  StepCost cost{.step = compute + blocked, .blocked = blocked};
  if (cost.step > absl::ZeroDuration()) cost.ratio = absl::FDivDuration(blocked, cost.step);
  return cost;
}

}  // namespace isthmus
