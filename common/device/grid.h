// What a GPU kernel may ask of the thread that runs it. Kernels are function objects, templates
// over the type of thread, so that one source runs on a GPU (CudaThread) and, thread by thread, on
// the host (host_grid.h), where tests compare it with the CPU's codec and sanitizers watch it:
//
//   struct Scale {
//     float by;
//     float* values;  // of the device
//     template <typename Thread>
//     ISTHMUS_KERNEL void operator()(Thread& thread) const {
//       values[thread.block() * thread.threads() + thread.index()] *= by;
//     }
//   };
//
// A kernel is copied to the device as it is: plain numbers and pointers to the device's memory.
//
// Any Thread has, besides what CudaThread shows here, these rules: every thread of a block calls
// Sync() and Any() the same number of times, every thread of a warp SyncWarp() and Ballot(), and
// none returns before. Blocks know nothing of each other.
#ifndef ISTHMUS_COMMON_DEVICE_GRID_H_
#define ISTHMUS_COMMON_DEVICE_GRID_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define ISTHMUS_KERNEL __device__ __forceinline__
#define ISTHMUS_KERNEL_UNROLL _Pragma("unroll")  // all of it: the body then knows its index
#else
#define ISTHMUS_KERNEL inline
#define ISTHMUS_KERNEL_UNROLL
#endif

namespace isthmus {

inline constexpr int kWarpThreads = 32;

// One launch: blocks of threads, each block with so much shared memory.
struct GridShape {
  uint32_t blocks = 0;
  uint32_t threads = 0;  // at most 1024
  size_t shared_bytes = 0;
};

#if defined(__CUDACC__)

class CudaThread {
 public:
  __device__ uint32_t block() const { return blockIdx.x; }
  __device__ uint32_t blocks() const { return gridDim.x; }
  __device__ uint32_t index() const { return threadIdx.x; }  // within the block
  __device__ uint32_t threads() const { return blockDim.x; }

  // The block's memory, 16-byte aligned, undefined at first.
  __device__ unsigned char* shared() const {
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
  }

  // What threads of the block (of the warp) wrote before is seen after by all of them.
  __device__ void Sync() { __syncthreads(); }
  __device__ void SyncWarp() { __syncwarp(); }
  // True if `value` is at some thread of the block. Syncs, too.
  __device__ bool Any(bool value) { return __syncthreads_or(value) != 0; }
  // Bit i: what thread i of the warp says.
  __device__ uint32_t Ballot(bool value) { return __ballot_sync(0xffffffffu, value); }

  // Atomic among all threads of the grid; in no order.
  __device__ void Or(uint32_t* word, uint32_t bits) { atomicOr(word, bits); }
  __device__ void Add(uint64_t* sum, uint64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(sum), value);
  }
};

#endif

// The number of ones; and the lowest one's place, for bits other than 0.
ISTHMUS_KERNEL uint32_t CountOnes(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint32_t>(__popcll(bits));
#else
  return static_cast<uint32_t>(__builtin_popcountll(bits));
#endif
}
ISTHMUS_KERNEL uint32_t LowestOne(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint32_t>(__ffsll(static_cast<long long>(bits)) - 1);
#else
  return static_cast<uint32_t>(__builtin_ctzll(bits));
#endif
}

// Four floats that cross the bus as one; 16-byte aligned.
struct alignas(16) Float4 {
  float at[4];
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_GRID_H_
