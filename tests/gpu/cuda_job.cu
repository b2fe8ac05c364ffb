// A training job whose parameters and gradients stay on its GPU: attaches with device memory, moves
// every parameter towards a target with noise, and never waits for the GPU between steps. Before
// each gradient a kernel idles for --delay-us, so that whoever reads too early reads the step
// before.
//
//   cuda_job --socket PATH [--rounds-quit N] [--delay-us N] [--bf16] [--rank R] [--own-optimizer]
//
// With --own-optimizer it steps its parameters by itself, for a run of local steps.
//
// Ends with "parameters HASH rounds N", the hash of what it sees at the end of the run. Exit codes:
// 0 the run has ended or --rounds-quit was reached; 1 an error, in words; 77 no GPU.
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "client/isthmus.h"

namespace {

struct Flags {
  std::string socket;
  long quit = -1;
  long delay_us = 200;
  bool bf16 = false;
  int rank = -1;
  bool own_optimizer = false;
};

__global__ void Idle(long microseconds) {
  const long long begin = clock64();
  while (clock64() - begin < microseconds * 1000) {
  }
}

__device__ float Load(const float* p, size_t i) { return p[i]; }
__device__ float Load(const __nv_bfloat16* p, size_t i) { return __bfloat162float(p[i]); }
__device__ void Store(float* p, size_t i, float v) { p[i] = v; }
__device__ void Store(__nv_bfloat16* p, size_t i, float v) { p[i] = __float2bfloat16_rn(v); }

__device__ float GradientAt(float parameter, size_t i, unsigned step) {
  unsigned noise = static_cast<unsigned>(i) * 2654435761u ^ step * 40503u;
  noise ^= noise >> 13;
  noise *= 1274126177u;
  const float target = static_cast<float>(i % 7) * 0.125f;
  const float wobble = static_cast<float>(noise >> 16) / 65536.0f - 0.5f;
  return parameter - target + wobble;
}

template <typename T>
__global__ void Gradient(const T* parameters, T* gradients, size_t length, unsigned step) {
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < length; i += gridDim.x * blockDim.x) {
    Store(gradients, i, GradientAt(Load(parameters, i), i, step));
  }
}

template <typename T>
__global__ void Descend(T* parameters, size_t length, unsigned step) {
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < length; i += gridDim.x * blockDim.x) {
    const float parameter = Load(parameters, i);
    Store(parameters, i, parameter - 0.05f * GradientAt(parameter, i, step));
  }
}

int Fail(const char* what, const char* why) {
  std::fprintf(stderr, "cuda_job: %s: %s\n", what, why);
  return 1;
}

unsigned long long Fnv(const std::vector<unsigned char>& bytes) {
  unsigned long long hash = 14695981039346656037ull;
  for (const unsigned char b : bytes) hash = (hash ^ b) * 1099511628211ull;
  return hash;
}

// A gradient, or where there is none the job's own step.
template <typename T>
void QueueStep(isthmus_session* session, size_t tensor, size_t length, unsigned step,
               cudaStream_t stream) {
  auto* const parameters = static_cast<T*>(isthmus_parameter(session, tensor));
  auto* const gradients = static_cast<T*>(isthmus_gradient(session, tensor));
  if (gradients == nullptr) {
    Descend<T><<<64, 256, 0, stream>>>(parameters, length, step);
  } else {
    Gradient<T><<<64, 256, 0, stream>>>(parameters, gradients, length, step);
  }
}

int Run(const Flags& flags) {
  const int64_t shapes[2][2] = {{122, 128}, {100, 1}};
  const size_t lengths[2] = {122 * 128, 100};
  isthmus_tensor tensors[2] = {};
  for (int t = 0; t < 2; ++t) {
    tensors[t].struct_size = sizeof(isthmus_tensor);
    tensors[t].name = t == 0 ? "weights" : "bias";
    tensors[t].dtype = flags.bf16 ? ISTHMUS_BFLOAT16 : ISTHMUS_FLOAT32;
    tensors[t].ndim = t == 0 ? 2 : 1;
    tensors[t].shape = shapes[t];
    tensors[t].parameter_group = t;
  }
  isthmus_attach_options options = {};
  options.struct_size = sizeof(options);
  options.socket_path = flags.socket.c_str();
  options.local_rank = flags.rank;
  options.timeout_seconds = 60;
  options.memory = ISTHMUS_DEVICE_MEMORY;
  options.own_optimizer = flags.own_optimizer;
  isthmus_session* session = nullptr;
  if (isthmus_attach(&options, tensors, 2, &session) != ISTHMUS_OK) {
    return Fail("attach", isthmus_error_message(nullptr));
  }
  cudaPointerAttributes where = {};
  if (cudaPointerGetAttributes(&where, isthmus_parameter(session, 0)) != cudaSuccess ||
      cudaSetDevice(where.device) != cudaSuccess) {
    return Fail("the daemon's GPU", cudaGetErrorString(cudaGetLastError()));
  }
  cudaStream_t stream;
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess) {
    return Fail("cudaStreamCreate", cudaGetErrorString(cudaGetLastError()));
  }
  isthmus_info info = {};
  info.struct_size = sizeof(info);
  isthmus_get_info(session, &info);
  unsigned long long round = info.round;
  const float lr[2] = {0.01f, 0.02f};
  isthmus_step_args args = {};
  args.struct_size = sizeof(args);
  args.lr = lr;
  args.parameter_groups = 2;
  args.samples = 1;
  args.stream = stream;
  isthmus_code code = ISTHMUS_OK;
  // A job of the daemon's optimizer counts rounds, so that one that comes back goes on.
  for (unsigned step = 1;
       code == ISTHMUS_OK && (flags.quit < 0 || static_cast<long>(round) < flags.quit); ++step) {
    Idle<<<1, 1, 0, stream>>>(flags.delay_us);
    for (size_t t = 0; t < 2; ++t) {
      const unsigned seed = flags.own_optimizer ? step : static_cast<unsigned>(round + 1);
      if (flags.bf16) {
        QueueStep<__nv_bfloat16>(session, t, lengths[t], seed, stream);
      } else {
        QueueStep<float>(session, t, lengths[t], seed, stream);
      }
    }
    isthmus_step_result result = {};
    result.struct_size = sizeof(result);
    code = isthmus_step(session, &args, &result);
    if (code == ISTHMUS_OK || code == ISTHMUS_END) round = result.round;
  }
  if (code != ISTHMUS_OK && code != ISTHMUS_END) {
    return Fail("step", isthmus_error_message(session));
  }
  std::vector<unsigned char> bytes;
  for (size_t t = 0; t < 2; ++t) {
    std::vector<unsigned char> part(lengths[t] * (flags.bf16 ? 2 : 4));
    cudaMemcpyAsync(part.data(), isthmus_parameter(session, t), part.size(), cudaMemcpyDeviceToHost,
                    stream);
    const cudaError_t error = cudaStreamSynchronize(stream);
    if (error != cudaSuccess) return Fail("copying parameters", cudaGetErrorString(error));
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  std::printf("parameters %016llx rounds %llu\n", Fnv(bytes), round);
  isthmus_detach(session);
  cudaStreamDestroy(stream);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--bf16") {
      flags.bf16 = true;
    } else if (flag == "--own-optimizer") {
      flags.own_optimizer = true;
    } else if (i + 1 < argc && flag == "--socket") {
      flags.socket = argv[++i];
    } else if (i + 1 < argc && flag == "--rounds-quit") {
      flags.quit = std::atol(argv[++i]);
    } else if (i + 1 < argc && flag == "--delay-us") {
      flags.delay_us = std::atol(argv[++i]);
    } else if (i + 1 < argc && flag == "--rank") {
      flags.rank = std::atoi(argv[++i]);
    } else {
      std::fprintf(flag == "--help" ? stdout : stderr,
                   "usage: cuda_job --socket PATH [--rounds-quit N] [--delay-us N] [--bf16] "
                   "[--rank R] [--own-optimizer]\n");
      return flag == "--help" ? 0 : 2;
    }
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no GPU\n");
    return 77;
  }
  return Run(flags);
}
