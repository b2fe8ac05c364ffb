#include "common/compression/dct.h"

#include "common/base/check.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

size_t CheckedChunks(int chunk_size, std::span<const float> in, std::span<float> out) {
  ISTHMUS_CHECK(IsChunkSize(chunk_size));
  ISTHMUS_CHECK(in.size() == out.size() && in.size() % static_cast<size_t>(chunk_size) == 0);
  return in.size() / static_cast<size_t>(chunk_size);
}

}  // namespace

void ForwardDct(int chunk_size, std::span<const float> in, std::span<float> out) {
  const size_t chunks = CheckedChunks(chunk_size, in, out);
  ActiveKernels().forward_rows(chunk_size, in.data(), chunks, out.data());
}

void InverseDct(int chunk_size, std::span<const float> in, std::span<float> out) {
  const size_t chunks = CheckedChunks(chunk_size, in, out);
  ActiveKernels().inverse_rows(chunk_size, in.data(), chunks, out.data());
}

void RecutDct(int from, int to, std::span<float> x) {
  InverseDct(from, x, x);
  ForwardDct(to, x, x);
}

}  // namespace isthmus
