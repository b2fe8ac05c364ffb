// Does the CUDA toolchain keep the contract that kernels will rest on: C++20, and float32
// arithmetic with the CPU's bits? Skips, by name, without a GPU.

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

namespace {

constexpr int kSkip = 77;  // CTest's SKIP_RETURN_CODE
constexpr int kCount = 1 << 16;

// A chain of the operations that kernels use. One contraction or flushed denormal shows.
__host__ __device__ float Chain(float a, float b) {
  const float product = a * b + a;
  const float quotient = (product - b) / (b * b + 1.5f);
  return quotient * 0x1.8p-140f + product * quotient;
}

__global__ void Run(const float* a, const float* b, float* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < kCount) out[i] = Chain(a[i], b[i]);
}

int Check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return 0;
  std::printf("%s: %s\n", call, cudaGetErrorString(error));
  return 1;
}

}  // namespace

int main() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no CUDA device (%s)\n", cudaGetErrorString(error));
    return kSkip;
  }
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
  std::vector<float> a(kCount), b(kCount), out(kCount);
  for (int i = 0; i < kCount; ++i) {
    a[i] = uniform(rng) * (i % 2 == 0 ? 1.0f : 0x1p-120f);
    b[i] = uniform(rng);
  }
  float* device = nullptr;
  const size_t bytes = kCount * sizeof(float);
  if (Check(cudaMalloc(&device, 3 * bytes), "cudaMalloc") ||
      Check(cudaMemcpy(device, a.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy") ||
      Check(cudaMemcpy(device + kCount, b.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy")) {
    return 1;
  }
  Run<<<kCount / 256, 256>>>(device, device + kCount, device + 2 * kCount);
  if (Check(cudaMemcpy(out.data(), device + 2 * kCount, bytes, cudaMemcpyDeviceToHost), "kernel")) {
    return 1;
  }
  int different = 0;
  for (int i = 0; i < kCount; ++i) {
    const float expected = Chain(a[i], b[i]);
    different += std::memcmp(&expected, &out[i], sizeof(float)) != 0;
  }
  std::printf("%d of %d results differ from the CPU's bits\n", different, kCount);
  return different == 0 ? 0 : 1;
}
