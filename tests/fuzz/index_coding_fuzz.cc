// The bits that say which elements of a chunk were sent.
//
//   input := chunk_size:number k:number first_bit:byte bits
#include <algorithm>
#include <iterator>
#include <vector>

#include "common/compression/index_coding.h"
#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

constexpr int kChunks = 3;  // one after the other, as far as the bits go

void FuzzIndexCoding(const uint8_t* data, size_t size) {
  Input input(data, size);
  // Tables are large, and fewer sizes are tried more often.
  const auto chunk_size = static_cast<uint32_t>(2 + input.Number() % 511);
  const auto k = static_cast<uint32_t>(1 + input.Number() % (chunk_size - 1));
  const uint64_t first_bit = input.Byte() % 64;
  const IndexCoder coder(chunk_size, k);
  ISTHMUS_CHECK(coder.bits() > 0 && coder.coding() != IndexCoding::kNone);
  const auto bits = static_cast<uint64_t>(coder.bits());
  const uint64_t needed = first_bit + kChunks * bits;
  std::string bytes = input.Bytes(BytesForBits(needed));
  bytes.resize(BytesForBits(needed), '\0');
  std::vector<uint16_t> indices(k), side_by_side(kChunks * k);
  int valid = 0;
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const uint64_t at = first_bit + static_cast<uint64_t>(chunk) * bits;
    if (!coder.Valid(AsBytes(bytes), at)) break;
    ++valid;
    CountAccepted();
    coder.Decode(AsBytes(bytes), at, bits, 1, indices.data());
    for (uint32_t i = 0; i < k; ++i) {
      ISTHMUS_CHECK(indices[i] < chunk_size);
      ISTHMUS_CHECK(i == 0 || indices[i] > indices[i - 1]);
    }
    // One encoding of each subset.
    std::vector<std::byte> encoded(BytesForBits(bits));
    BitWriter writer(encoded.data(), encoded.data() + encoded.size());
    coder.Encode(indices.data(), writer);
    writer.Finish();
    for (uint64_t bit = 0; bit < bits; ++bit) {
      const auto bit_of = [](std::span<const std::byte> of, uint64_t i) {
        return std::to_integer<unsigned>(of[i / 8]) >> (i % 8) & 1;
      };
      ISTHMUS_CHECK(bit_of(encoded, bit) == bit_of(AsBytes(bytes), at + bit));
    }
  }
  // Several at once say the same.
  coder.Decode(AsBytes(bytes), first_bit, bits, valid, side_by_side.data());
  for (int chunk = 0; chunk < valid; ++chunk) {
    coder.Decode(AsBytes(bytes), first_bit + static_cast<uint64_t>(chunk) * bits, bits, 1,
                 indices.data());
    ISTHMUS_CHECK(std::equal(indices.begin(), indices.end(),
                             side_by_side.begin() + static_cast<ptrdiff_t>(k) * chunk));
  }
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzIndexCoding(data, size);
  return 0;
}
