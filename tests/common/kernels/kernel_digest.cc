// kernel_digest [EXPECTED]: one number over the outputs of all kernels on seeded inputs, for each
// set that this program was compiled with and this processor runs, the naive one first. All lines
// must agree, on every machine and with every compiler (docs/protocol.md, P21). With EXPECTED, 16
// hex digits, exits 1 unless they all are that.
//
// Needs the headers of common/base, common/kernels and the standard library only, so that it is
// easily compiled for another machine: scripts/check_neon does it for ARM.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "common/base/mix64.h"
#include "common/kernels/naive_kernels.h"
#include "common/kernels/positions.h"
#include "common/kernels/subset_tables.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

class Digest {
 public:
  void Add(uint64_t word) { hash_ = Mix64(hash_ ^ word) + 0x9e3779b97f4a7c15ULL; }
  void Add(const std::vector<float>& x, size_t n) {
    for (size_t i = 0; i < n; ++i) Add(FloatBits(x[i]));
  }
  // Of something laid out like a tile, the lanes that hold a chunk.
  template <typename T>
  void AddLanes(const std::vector<T>& tile, int chunks) {
    for (size_t i = 0; i < tile.size(); ++i) {
      if (static_cast<int>(i % kTileChunks) >= chunks) continue;
      uint32_t bits;
      std::memcpy(&bits, &tile[i], sizeof(bits));
      Add(bits);
    }
  }
  uint64_t hash() const { return hash_; }

 private:
  uint64_t hash_ = 0;
};

class Inputs {
 public:
  uint64_t Word() { return Mix64(state_ += 0x9e3779b97f4a7c15ULL); }
  // Every third chunk plain, of many magnitudes, or full of ties.
  std::vector<float> Floats(int chunk_size, int chunks) {
    std::vector<float> x;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      for (int i = 0; i < chunk_size; ++i) {
        const uint64_t word = Word();
        const uint32_t sign = static_cast<uint32_t>(word >> 32) & 0x80000000;
        const uint32_t mantissa = static_cast<uint32_t>(word) & 0x7fffff;
        // Exponents 125 to 128; all up to 2^98, denormals among them; 0, 1, 1.5.
        uint32_t bits = (static_cast<uint32_t>(125 + (word >> 40 & 3)) << 23) | mantissa;
        if (chunk % 3 == 1) bits = (static_cast<uint32_t>((word >> 40) % 226) << 23) | mantissa;
        if (chunk % 3 == 2) bits = word >> 40 & 1 ? 0x3f800000 | (mantissa & 0x400000) : 0;
        x.push_back(FloatOf(sign | bits));
      }
    }
    return x;
  }

 private:
  uint64_t state_ = 0;
};

void AddTransforms(const TileKernels& kernels, Digest& digest) {
  Inputs inputs;
  for (int size = 16; size <= 4096; size *= 2) {
    const size_t n = static_cast<size_t>(size);
    for (int chunks : {1, 5, 13, kTileChunks}) {
      const size_t used = n * static_cast<size_t>(chunks);
      const std::vector<float> rows = inputs.Floats(size, chunks);
      std::vector<float> out(used);
      kernels.forward_rows(size, rows.data(), static_cast<size_t>(chunks), out.data());
      digest.Add(out, used);
      kernels.inverse_rows(size, rows.data(), static_cast<size_t>(chunks), out.data());
      digest.Add(out, used);
      std::vector<float> tile = inputs.Floats(size, kTileChunks);  // any lanes
      kernels.accumulate(size, rows.data(), chunks, 0.999f, 0.3f, tile.data());
      digest.AddLanes(tile, chunks);
      for (bool sign : {false, true}) {
        kernels.inverse_tile(size, tile.data(), chunks, sign, out.data());
        digest.Add(out, used);
      }
      std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(size)) * kTileChunks);
      std::vector<uint32_t> zero(masks.size());
      for (int k : {1, 2, 4, 7, 8, 9, 15}) {
        kernels.select(size, k, tile.data(), chunks, masks.data());
        digest.AddLanes(masks, chunks);
      }
      kernels.inverse_signs(size, tile.data(), masks.data(), zero.data());
      digest.AddLanes(masks, chunks);
      digest.AddLanes(zero, chunks);
    }
  }
}

void AddFlat(const TileKernels& kernels, Digest& digest) {
  Inputs inputs;
  const std::vector<float> a = inputs.Floats(64, 9);
  const std::vector<float> b = inputs.Floats(64, 9);
  for (size_t n : {size_t{0}, size_t{1}, size_t{7}, size_t{150}, a.size()}) {
    std::vector<float> momentum = b, parameters = b;
    kernels.accumulate_flat(0.9f, 0.7f, a.data(), momentum.data(), n);
    digest.Add(momentum, momentum.size());
    kernels.sgd(0.9f, 0.7f, a.data(), parameters.data(), n);
    digest.Add(parameters, parameters.size());
  }
  for (int most : {1, 2, 3, 100}) {
    std::vector<float> pairs, out(a.size());
    for (float sum : a) {
      pairs.push_back(sum);
      pairs.push_back(static_cast<float>(inputs.Word() % static_cast<uint64_t>(most + 1)));
    }
    kernels.mean(static_cast<float>(most), pairs.data(), out.data(), out.size());
    digest.Add(out, out.size());
  }
  std::vector<uint8_t> bits(50);
  for (uint8_t& byte : bits) byte = static_cast<uint8_t>(inputs.Word());
  std::vector<float> direction(8 * bits.size());
  kernels.expand_signs(bits.data(), direction.data(), direction.size());
  digest.Add(direction, direction.size());
}

// One-bit values from elements to ranks and back.
void AddSubsets(const TileKernels& kernels, Digest& digest) {
  Inputs inputs;
  for (auto [size, k] : {std::pair{16, 3}, {32, 7}, {64, 4}, {64, 8}, {128, 8}, {4096, 4}}) {
    const SubsetTableSet set(static_cast<uint32_t>(size), static_cast<uint32_t>(k), k == 7);
    const auto subsets =
        static_cast<uint64_t>(*Binomial(static_cast<uint32_t>(size), static_cast<uint32_t>(k)));
    std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(size)) * kTileChunks);
    std::vector<uint32_t> negative[3];
    std::vector<SignTile> groups;
    std::vector<float> magnitudes(kTileChunks);
    for (float& x : magnitudes) x = ScaleOf(static_cast<uint32_t>(inputs.Word() & 255));
    for (std::vector<uint32_t>& of : negative) {
      of.resize(masks.size());
      uint64_t ranks[kTileChunks], packed[kTileChunks];
      for (uint64_t& rank : ranks) rank = inputs.Word() % subsets;
      for (uint64_t& bits : packed) bits = inputs.Word();
      kernels.unrank(set.tables(), ranks, kTileChunks, masks.data());
      digest.AddLanes(masks, kTileChunks);
      kernels.rank(set.tables(), masks.data(), kTileChunks, ranks);
      for (uint64_t rank : ranks) digest.Add(rank);
      kernels.spread_bits(size, masks.data(), packed, kTileChunks, of.data());
      digest.AddLanes(of, kTileChunks);
      kernels.pack_bits(size, masks.data(), of.data(), kTileChunks, packed);
      for (uint64_t bits : packed) digest.Add(bits);
      // (All groups with the last one's masks: what they send overlaps.)
      groups.push_back({masks.data(), of.data(), magnitudes.data()});
    }
    for (std::vector<uint32_t>& of : negative) {
      for (size_t i = 0; i < of.size(); ++i) of[i] &= masks[i];
    }
    std::vector<float> tile = inputs.Floats(size, kTileChunks);
    std::vector<float> sums(kTileChunks);
    std::vector<uint32_t> signs(masks.size());
    kernels.gather_signs(size, tile.data(), masks.data(), sums.data(), signs.data());
    digest.Add(sums, sums.size());
    digest.AddLanes(signs, kTileChunks);
    kernels.subtract_signs(size, masks.data(), magnitudes.data(), tile.data());
    digest.Add(tile, tile.size());
    for (int count = 1; count <= 3; ++count) {
      kernels.mean_signs(size, groups.data(), count, tile.data());
      digest.Add(tile, tile.size());
    }
  }
}

void AddBlocks(const TileKernels& kernels, Digest& digest) {
  Inputs inputs;
  for (int bits : {1, 2, 4}) {
    std::vector<float> x = inputs.Floats(kBlock, 30);
    for (size_t at = 0; at < x.size(); at += kBlock) {
      uint64_t codes[4] = {};
      uint8_t scale = 0;
      std::vector<float> said(kBlock);
      kernels.take_blocks(bits, x.data() + at, 1, &scale, codes);
      if (scale > 0) kernels.say_block(bits, scale, codes, said.data());
      digest.Add(static_cast<uint64_t>(scale > 0 ? scale : kNoScale));
      for (uint64_t word : codes) digest.Add(word);
      digest.Add(said, said.size());
    }
    digest.Add(x, x.size());
  }
}

// What is no kernel, but must be the same everywhere as well.
void AddFormulas(Digest& digest) {
  Inputs inputs;
  for (float x : inputs.Floats(64, 30)) {
    const uint32_t magnitude = FloatBits(x) & 0x7fffffff;
    digest.Add(RoundToBf16(FloatBits(x)));
    digest.Add(static_cast<uint64_t>(ScaleCode(FloatOf(magnitude))));
    digest.Add(static_cast<uint64_t>(Int4ScaleCode(FloatOf(magnitude))));
    digest.Add(Int4Code(x, ScaleOf(static_cast<uint32_t>(inputs.Word() & 255))));
    digest.Add(static_cast<uint64_t>(TwoBitScaleCode(FloatOf(magnitude))));
    digest.Add(TwoBitCode(x, ScaleOf(static_cast<uint32_t>(inputs.Word() & 255))));
  }
  for (uint64_t i = 0; i < 1000; ++i) {
    digest.Add(RandomPosition(i, i * i, i + 7, static_cast<int>(i % 13), static_cast<uint32_t>(i)));
    digest.Add(SignOfZero(i, i * 3));
  }
}

std::vector<const TileKernels*> Runnable() {
  std::vector<const TileKernels*> sets = {&naive::kKernels, &kScalarKernels, &kVector128Kernels};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("bmi2")) return sets;
  if (__builtin_cpu_supports("avx2")) sets.push_back(&kAvx2Kernels);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    sets.push_back(&kAvx512Kernels);
  }
#endif
  return sets;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    std::fprintf(stderr, "usage: kernel_digest [EXPECTED]\n");
    return 2;
  }
  int status = 0;
  char first[17] = "";
  for (const isthmus::TileKernels* kernels : isthmus::Runnable()) {
    isthmus::Digest digest;
    isthmus::AddTransforms(*kernels, digest);
    isthmus::AddFlat(*kernels, digest);
    isthmus::AddSubsets(*kernels, digest);
    isthmus::AddBlocks(*kernels, digest);
    isthmus::AddFormulas(digest);
    char text[17];
    std::snprintf(text, sizeof(text), "%016" PRIx64, digest.hash());
    std::printf("%s %s\n", kernels->name, text);
    if (first[0] == '\0') std::memcpy(first, argc == 2 ? argv[1] : text, std::strlen(text) + 1);
    if (std::strcmp(text, first) != 0) status = 1;
  }
  if (status != 0) std::fprintf(stderr, "expected %s in every line\n", first);
  return status;
}
