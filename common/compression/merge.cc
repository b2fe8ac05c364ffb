#include "common/compression/merge.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/compression/tile_masks.h"
#include "common/kernels/simd.h"

namespace isthmus {

static_assert(PayloadView::kBatch == kTileChunks);

std::vector<float> MergeWeights(std::span<const uint64_t> samples) {
  std::vector<float> weights(samples.size(), 1.0f);
  const bool equal =
      std::all_of(samples.begin(), samples.end(), [&](uint64_t n) { return n == samples.front(); });
  if (equal) return weights;
  double total = 0.0;
  for (uint64_t n : samples) total += static_cast<double>(n);
  const double count = static_cast<double>(samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    weights[i] = static_cast<float>(static_cast<double>(samples[i]) * count / total);
  }
  return weights;
}

TileMerger::TileMerger(MergeRule rule, uint32_t chunk_size, uint32_t k, const TileKernels& kernels)
    : rule_(rule),
      chunk_size_(chunk_size),
      k_(k),
      kernels_(kernels),
      tile_(size_t{chunk_size} * kTileChunks),
      pairs_(rule == MergeRule::kSenderMean ? 2 * tile_.size() : 0),
      indices_(size_t{k} * kTileChunks),
      values_(size_t{k} * kTileChunks) {}

namespace {

// Add `values` at `indices` of one chunk's column of a tile; true if one is not zero.
bool AddSums(const uint16_t* indices, const float* values, uint32_t k, float* column) {
  bool any = false;
  for (uint32_t j = 0; j < k; ++j) {
    column[size_t{indices[j]} * kTileChunks] += values[j];
    any |= values[j] != 0.0f;
  }
  return any;
}

// Sum and count are added as one.
bool AddPairs(const uint16_t* indices, const float* values, uint32_t k, float* column) {
  using Pair = float __attribute__((vector_size(8)));
  bool any = false;
  for (uint32_t j = 0; j < k; ++j) {
    const float value = values[j];
    float* const at = column + size_t{indices[j]} * (2 * kTileChunks);
    Pair pair;
    std::memcpy(&pair, at, sizeof(pair));
    pair += Pair{value, value != 0.0f ? 1.0f : 0.0f};
    std::memcpy(at, &pair, sizeof(pair));
    any |= value != 0.0f;
  }
  return any;
}

}  // namespace

void TileMerger::Begin(bool sign_tiles) {
  by_masks_ = sign_tiles && rule_ == MergeRule::kSenderMean;
  present_ = 0;
  sign_count_ = 0;
  if (!by_masks_) std::ranges::fill(pairs_.empty() ? tile_ : pairs_, 0.0f);
}

// The weight comes before the rule (P10), so a group of weight zero sent nothing, and dilutes no
// mean over senders.
void TileMerger::Add(const PayloadView& part, float weight, uint64_t first_chunk, int count) {
  const uint64_t begin = std::max(first_chunk, part.place().chunks.first);
  const uint64_t end = std::min(first_chunk + static_cast<uint64_t>(count),
                                part.place().chunks.first + part.place().chunks.count);
  if (begin >= end) return;
  ISTHMUS_CHECK(part.format().chunk_size == chunk_size_ && part.format().k <= k_);
  const auto lane = static_cast<uint32_t>(begin - first_chunk);
  if (by_masks_) {
    AddSigns(part, weight, begin, static_cast<int>(end - begin), lane);
  } else {
    AddValues(part, weight, begin, static_cast<int>(end - begin), lane);
  }
}

// Parts whose chunks do not overlap share their masks: a tile costs as much as there are
// contributors, however they cut their chunks.
void TileMerger::AddSigns(const PayloadView& part, float weight, uint64_t begin, int count,
                          uint32_t lane) {
  ISTHMUS_CHECK(part.has_sign_tiles());
  const int size = static_cast<int>(chunk_size_);
  const uint32_t lanes = ((1u << count) - 1) << lane;
  if (sign_count_ == 0 || (signs_[sign_count_ - 1].lanes & lanes) != 0) {
    if (sign_count_ == signs_.size()) {
      Signs& more = signs_.emplace_back();
      more.masks.resize(static_cast<size_t>(MaskWords(size) * kTileChunks));
      more.negative.resize(more.masks.size());
    }
    Signs& fresh = signs_[sign_count_++];
    fresh.lanes = 0;
    if (count < kTileChunks) {
      std::ranges::fill(fresh.masks, 0u);
      std::ranges::fill(fresh.negative, 0u);
      fresh.magnitudes.fill(0.0f);
    }
  }
  Signs& signs = signs_[sign_count_ - 1];
  signs.lanes |= lanes;
  part.DecodeSigns(begin, count, kernels_, signs.masks.data() + lane, signs.negative.data() + lane,
                   signs.magnitudes.data() + lane);
  for (uint32_t i = lane; i < lane + static_cast<uint32_t>(count); ++i) {
    signs.magnitudes[i] *= weight;
    if (signs.magnitudes[i] != 0.0f) {
      present_ |= 1u << i;
      continue;
    }
    ClearChunk(size, i, signs.masks.data());
    ClearChunk(size, i, signs.negative.data());
  }
}

void TileMerger::AddValues(const PayloadView& part, float weight, uint64_t begin, int count,
                           uint32_t lane) {
  const uint32_t k = part.format().k;
  uint8_t chunks[kTileChunks];
  const int present = part.Decode(begin, count, chunks, indices_.data(), values_.data());
  if (k == chunk_size_) {
    for (int i = 0; i < present; ++i) {
      for (uint32_t j = 0; j < k; ++j) {
        indices_[static_cast<size_t>(i) * k + j] = static_cast<uint16_t>(j);
      }
    }
  }
  for (int i = 0; i < present; ++i) {
    const uint32_t chunk = lane + chunks[i];
    const uint16_t* indices = indices_.data() + static_cast<size_t>(i) * k;
    float* values = values_.data() + static_cast<size_t>(i) * k;
    if (weight != 1.0f) {
      for (uint32_t j = 0; j < k; ++j) values[j] *= weight;
    }
    const bool any = pairs_.empty()
                         ? AddSums(indices, values, k, tile_.data() + chunk)
                         : AddPairs(indices, values, k, pairs_.data() + 2 * size_t{chunk});
    present_ |= static_cast<uint32_t>(any) << chunk;
  }
}

uint32_t TileMerger::Finish(size_t contributors) {
  const float most = static_cast<float>(contributors);
  if (by_masks_ && sign_count_ > 0) {
    sign_tiles_.clear();
    for (const Signs& signs : std::span(signs_).first(sign_count_)) {
      sign_tiles_.push_back({signs.masks.data(), signs.negative.data(), signs.magnitudes.data()});
    }
    kernels_.mean_signs(static_cast<int>(chunk_size_), sign_tiles_.data(),
                        static_cast<int>(sign_count_), tile_.data());
  } else if (by_masks_) {
    std::ranges::fill(tile_, 0.0f);
  } else if (rule_ == MergeRule::kSenderMean) {
    kernels_.mean(most, pairs_.data(), tile_.data(), tile_.size());
  } else if (rule_ == MergeRule::kMean && contributors > 1) {
    for (float& sum : tile_) sum = sum / most + 0.0f;
  } else {
    for (float& sum : tile_) sum = sum + 0.0f;  // never -0, which an update does not say
  }
  return present_;
}

uint32_t TileMerger::Merge(uint64_t first_chunk, int count, std::span<const MergeInput> inputs) {
  bool sign_tiles = true;
  for (const MergeInput& input : inputs) {
    for (const PayloadView& part : input.parts) sign_tiles &= part.has_sign_tiles();
  }
  Begin(sign_tiles);
  for (const MergeInput& input : inputs) {
    for (const PayloadView& part : input.parts) Add(part, input.weight, first_chunk, count);
  }
  return Finish(inputs.size());
}

MergedBucket Merge(MergeRule rule, const PayloadFormat& format, uint64_t first_chunk,
                   uint64_t chunk_count, std::span<const MergeInput> inputs) {
  for (const MergeInput& input : inputs) {
    for (const PayloadView& part : input.parts) {
      const PayloadPlace& place = part.place();
      ISTHMUS_CHECK(place.chunks.first >= first_chunk && place.chunks.count <= chunk_count &&
                    place.chunks.first - first_chunk <= chunk_count - place.chunks.count);
    }
  }
  MergedBucket merged;
  merged.first_chunk = first_chunk;
  merged.chunk_count = chunk_count;
  merged.coefficients.resize(chunk_count * format.chunk_size);
  merged.present.resize(chunk_count);
  TileMerger merger(rule, format.chunk_size, format.k, ActiveKernels());
  for (uint64_t at = 0; at < chunk_count; at += kTileChunks) {
    const int count = static_cast<int>(std::min<uint64_t>(kTileChunks, chunk_count - at));
    const uint32_t present = merger.Merge(first_chunk + at, count, inputs);
    for (int chunk = 0; chunk < count; ++chunk) {
      const uint64_t row = at + static_cast<uint64_t>(chunk);
      merged.present[row] = present >> chunk & 1;
      for (uint32_t i = 0; i < format.chunk_size; ++i) {
        merged.coefficients[row * format.chunk_size + i] =
            merger.tile()[size_t{i} * kTileChunks + static_cast<size_t>(chunk)];
      }
    }
  }
  return merged;
}

}  // namespace isthmus
