// Do the formulas of common/kernels compile for GPUs, and give the CPU's bits there? Every DCT
// size, every value code and every scheme's positions, in one kernel each. Compiling is the part
// that works anywhere; running skips, by name, without a GPU.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "common/base/mix64.h"
#include "common/kernels/dct_formulas.h"
#include "common/kernels/positions.h"
#include "common/kernels/tile_kernels.h"
#include "common/kernels/value_codes.h"

namespace isthmus {
namespace {

constexpr int kSkip = 77;  // CTest's SKIP_RETURN_CODE
constexpr int kThreads = 64;

// One chunk per thread.
template <int N>
__global__ void Transform(const float* rows, int chunks, float* forward, float* inverse) {
  const int chunk = blockIdx.x * blockDim.x + threadIdx.x;
  if (chunk >= chunks) return;
  float from[N], to[N];
  for (int j = 0; j < N; ++j) from[j] = rows[chunk * N + j];
  DctFormulas<float>::Dct2<N>(from, to, 1);
  for (int j = 0; j < N; ++j) forward[chunk * N + j] = InverseSqrt<N>() * to[j];
  for (int j = 0; j < N; ++j) from[j] = rows[chunk * N + j];
  DctFormulas<float>::InverseDct2<N>(from, 1, to);
  for (int j = 0; j < N; ++j) inverse[chunk * N + j] = InverseSqrt<N>() * to[j];
}

// What the formulas say of one float and of its index.
struct Codes {
  uint32_t bf16, clamped, int4, int4_value, one_bit;
  int scale, int4_scale;
  uint32_t striding, slicing, random, zero, words;
};

ISTHMUS_FORMULA Codes CodesOf(float x, uint32_t i) {
  const uint32_t bits = FloatBits(x);
  const float magnitude = FloatOf(bits & 0x7fffffff);
  const float scale = ScaleOf(i & 255);
  const int stride_bits = static_cast<int>(i % 13);
  Codes codes;
  codes.bf16 = RoundToBf16(bits);
  codes.clamped = ClampToMaxValue(bits);
  codes.int4 = Int4Code(x, scale);
  codes.int4_value = FloatBits(Int4Value(codes.int4, scale));
  codes.one_bit = FloatBits(OneBitValue(bits >> 31, scale));
  codes.scale = ScaleCode(magnitude);
  codes.int4_scale = Int4ScaleCode(magnitude);
  codes.striding = StridingPosition(i, i + 7, stride_bits, i);
  codes.slicing = SlicingPosition(i, i + 7, stride_bits, 8, i % 8);
  codes.random = RandomPosition(i, uint64_t{i} * i, i + 7, stride_bits, i);
  codes.zero = SignOfZero(i, uint64_t{i} * 3);
  codes.words = static_cast<uint32_t>(MaskWords(16 << (i % 9)));
  return codes;
}

__global__ void Encode(const float* values, int count, Codes* codes) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) codes[i] = CodesOf(values[i], static_cast<uint32_t>(i));
}

// --- the host ------------------------------------------------------------------------------------

int failures = 0;

void Check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", call, cudaGetErrorString(error));
  ++failures;
}

// `count` elements on the device, from `values` if given.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    Check(cudaMalloc(&data_, count * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    Check(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
          "cudaMemcpy to the device");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    Check(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "kernel");
    return values;
  }

 private:
  size_t count_;
  T* data_ = nullptr;
};

template <typename T>
void ExpectSameBits(const char* what, int size, const std::vector<T>& expected,
                    const std::vector<T>& actual) {
  size_t different = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    different += std::memcmp(&expected[i], &actual[i], sizeof(T)) != 0;
  }
  std::printf("%s %d: %zu of %zu differ from the CPU's bits\n", what, size, different,
              expected.size());
  failures += different != 0;
}

// Every third chunk plain, of many magnitudes (denormals among them), or full of ties.
std::vector<float> Floats(uint64_t seed, int chunk_size, int chunks) {
  std::vector<float> x;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    for (int i = 0; i < chunk_size; ++i) {
      const uint64_t word = Mix64(seed += 0x9e3779b97f4a7c15ULL);
      const uint32_t signed_mantissa = static_cast<uint32_t>(word) & 0x807fffff;
      uint32_t exponent = 125 + (word >> 40 & 3);
      if (chunk % 3 == 1) exponent = (word >> 40) % 226;
      const uint32_t bits = signed_mantissa | exponent << 23;
      x.push_back(FloatOf(chunk % 3 == 2 ? (word >> 40 & 1) * (bits & 0xbfc00000) : bits));
    }
  }
  return x;
}

template <int N>
void CheckTransform() {
  constexpr int kChunks = 99;
  const std::vector<float> rows = Floats(N, N, kChunks);
  std::vector<float> forward(rows.size()), inverse(rows.size());
  kScalarKernels.forward_rows(N, rows.data(), kChunks, forward.data());
  kScalarKernels.inverse_rows(N, rows.data(), kChunks, inverse.data());
  DeviceArray<float> in(rows), forward_out(rows.size()), inverse_out(rows.size());
  Transform<N><<<(kChunks + kThreads - 1) / kThreads, kThreads>>>(
      in.data(), kChunks, forward_out.data(), inverse_out.data());
  Check(cudaGetLastError(), "launch");
  ExpectSameBits("DCT of", N, forward, forward_out.Read());
  ExpectSameBits("inverse DCT of", N, inverse, inverse_out.Read());
}

template <int N>
void CheckTransformsFrom() {
  CheckTransform<N>();
  if constexpr (N < 4096) CheckTransformsFrom<2 * N>();
}

void CheckCodes() {
  const std::vector<float> values = Floats(1, 64, 999);
  const int count = static_cast<int>(values.size());
  std::vector<Codes> expected;
  for (int i = 0; i < count; ++i) {
    expected.push_back(CodesOf(values[i], static_cast<uint32_t>(i)));
  }
  DeviceArray<float> in(values);
  DeviceArray<Codes> out(values.size());
  Encode<<<(count + kThreads - 1) / kThreads, kThreads>>>(in.data(), count, out.data());
  Check(cudaGetLastError(), "launch");
  ExpectSameBits("codes of floats,", count, expected, out.Read());
}

}  // namespace
}  // namespace isthmus

int main() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no CUDA device (%s)\n", cudaGetErrorString(error));
    return isthmus::kSkip;
  }
  isthmus::CheckTransformsFrom<16>();
  isthmus::CheckCodes();
  return isthmus::failures == 0 ? 0 : 1;
}
