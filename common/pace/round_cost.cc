#include "common/pace/round_cost.h"

#include <algorithm>
#include <map>
#include <numeric>

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

Buckets BucketsOf(const RunSpec& run, uint64_t parameters) {
  ISTHMUS_CHECK(parameters > 0);
  const uint64_t length = (parameters + kUnit - 1) / kUnit * kUnit;
  const auto buckets = Buckets::Create(length, run.bucket_length);
  ISTHMUS_CHECK(buckets.ok());
  return *buckets;
}

absl::Duration Take(uint64_t bytes, double rate) {
  return absl::Seconds(static_cast<double>(bytes) / rate);
}

}  // namespace

RoundBytes BytesOfRound(const RunSpec& run, uint64_t parameters,
                        const std::vector<GroupId>& groups) {
  const Buckets buckets = BucketsOf(run, parameters);
  RoundBytes bytes{.up = std::vector<uint64_t>(groups.size()),
                   .down = std::vector<uint64_t>(groups.size()),
                   .buckets = buckets.count()};
  if (run.scheme == Scheme::kNone) return bytes;
  const RoundFormats formats(run);
  std::vector<PayloadFormat> format;
  for (const GroupId group : groups) format.push_back(formats.FormatAt(Round(1), group));
  const UpdateFormat merged = formats.MergedAt(Round(1));
  // All buckets but the last are of one length.
  std::map<uint64_t, uint64_t> buckets_of;
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    ++buckets_of[formats.ChunksAt(Round(1), buckets.bucket(BucketIndex(b))).count];
  }
  for (const auto& [chunks, count] : buckets_of) {
    std::vector<uint64_t> sent;
    for (const PayloadFormat& its : format) sent.push_back(PayloadBytes(its, chunks));
    const uint64_t all = std::accumulate(sent.begin(), sent.end(), uint64_t{0});
    const uint64_t merge = MergedBytes(merged, chunks, static_cast<uint32_t>(groups.size()));
    for (size_t site = 0; site < groups.size(); ++site) {
      bytes.up[site] += count * Framed(sent[site]);
      bytes.down[site] += count * Framed(std::min(all - sent[site], merge));
    }
  }
  return bytes;
}

uint64_t BytesUp(const RunSpec& run, uint64_t parameters, GroupId group) {
  return BytesOfRound(run, parameters, {group}).up[0];
}

absl::Duration ExchangeTime(const RoundBytes& bytes, const std::vector<Path>& paths, size_t site) {
  // The coordinator has a round's first bucket, and its last, when the slowest site has sent it.
  absl::Duration first, last;
  for (size_t s = 0; s < paths.size(); ++s) {
    const absl::Duration there = paths[s].round_trip / 2;
    first = std::max(first, Take(bytes.up[s] / bytes.buckets, paths[s].up) + there);
    last = std::max(last, Take(bytes.up[s], paths[s].up) + there);
  }
  const absl::Duration down = Take(bytes.down[site], paths[site].down);
  return std::max(first + down, last + down / bytes.buckets) + paths[site].round_trip / 2;
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
