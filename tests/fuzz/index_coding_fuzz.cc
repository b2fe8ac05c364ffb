// The bits that say which elements of a chunk were sent.
//
//   input := size:byte first_bit:byte bits
//
// `size` is a number in index_sizes.h, modulo how many there are.
//
// scripts/fuzz: -max_len=512
#include <algorithm>
#include <string>
#include <vector>

#include "common/compression/index_coding.h"
#include "tests/fuzz/index_sizes.h"
#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

constexpr int kChunks = 3;  // one after the other, as far as the bits go

struct Sized {
  IndexSize size;
  const IndexCoder* coder;
};

// Made before the first input; kept for ever.
const std::vector<Sized>& Coders() {
  static const auto& coders = *new std::vector<Sized>([] {
    std::vector<Sized> made;
    for (const IndexSize& size : IndexSizes()) {
      made.push_back({size, &IndexCoder::For(size.chunk_size, size.k)});
    }
    return made;
  }());
  return coders;
}

// The eight bits from `bit` on, as far as there are that many.
unsigned ByteAt(const std::string& bytes, uint64_t bit) {
  const auto byte = [&](uint64_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u;
  };
  return (byte(bit / 8) | byte(bit / 8 + 1) << 8) >> (bit % 8) & 0xff;
}

void FuzzIndexCoding(const uint8_t* data, size_t size) {
  Input input(data, size);
  const auto& [of, coder] = Coders()[input.Byte() % Coders().size()];
  const uint32_t k = of.k;
  const uint64_t first_bit = input.Byte() % 64;
  ISTHMUS_CHECK(coder->bits() > 0 && coder->coding() != IndexCoding::kNone);
  const auto bits = static_cast<uint64_t>(coder->bits());
  const uint64_t needed = first_bit + kChunks * bits;
  std::string bytes = input.Bytes(BytesForBits(needed));
  bytes.resize(BytesForBits(needed), '\0');
  std::vector<uint16_t> indices(k), side_by_side(kChunks * k);
  int valid = 0;
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const uint64_t at = first_bit + static_cast<uint64_t>(chunk) * bits;
    if (!coder->Valid(AsBytes(bytes), at)) break;
    ++valid;
    CountAccepted();
    coder->Decode(AsBytes(bytes), at, bits, 1, indices.data());
    for (uint32_t i = 0; i < k; ++i) {
      ISTHMUS_CHECK(indices[i] < of.chunk_size);
      ISTHMUS_CHECK(i == 0 || indices[i] > indices[i - 1]);
    }
    // One encoding of each subset.
    std::vector<std::byte> encoded(BytesForBits(bits));
    BitWriter writer(encoded.data(), encoded.data() + encoded.size());
    coder->Encode(indices.data(), writer);
    writer.Finish();
    for (uint64_t bit = 0; bit < bits; bit += 8) {
      const unsigned mask = bits - bit >= 8 ? 0xff : (1u << (bits - bit)) - 1;
      ISTHMUS_CHECK(std::to_integer<unsigned>(encoded[bit / 8]) ==
                    (ByteAt(bytes, at + bit) & mask));
    }
  }
  // Several at once say the same.
  coder->Decode(AsBytes(bytes), first_bit, bits, valid, side_by_side.data());
  for (int chunk = 0; chunk < valid; ++chunk) {
    coder->Decode(AsBytes(bytes), first_bit + static_cast<uint64_t>(chunk) * bits, bits, 1,
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
