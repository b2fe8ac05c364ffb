// A GPU's grid on the host, for tests and for machines without a GPU: every thread of a block is a
// fiber, which runs until it waits for others. One block after the other, on the calling thread.
//
// Slow, but strict: the order in which threads run between two barriers is a choice (`seed`), so
// that a kernel that lacks a barrier gives different results, and one whose threads part ways at a
// barrier ends the process with both places. AddressSanitizer sees every access: what belongs to
// the device, to the block and to the thread.
#ifndef ISTHMUS_COMMON_DEVICE_HOST_GRID_H_
#define ISTHMUS_COMMON_DEVICE_HOST_GRID_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "common/device/grid.h"

namespace isthmus {

class HostBlock;

// As CudaThread (grid.h).
class HostThread {
 public:
  HostThread(HostBlock* block, uint32_t index) : block_(block), index_(index) {}

  uint32_t block() const;
  uint32_t blocks() const;
  uint32_t index() const { return index_; }
  uint32_t threads() const;
  unsigned char* shared() const;

  void Sync();
  void SyncWarp();
  bool Any(bool value);
  uint32_t Ballot(bool value);
  void Or(uint32_t* word, uint32_t bits) { *word |= bits; }
  void Add(uint64_t* sum, uint64_t value) { *sum += value; }

 private:
  HostBlock* const block_;
  const uint32_t index_;
};

// Runs `body` once for every thread of the grid. `seed` 0 runs the threads of a block in order,
// any other in an order of its own. Shared memory holds garbage at first. Blocks until all is done.
// CHECKs the shape, and that threads meet at their barriers.
void RunGridOnHost(const GridShape& shape, uint64_t seed,
                   const std::function<void(HostThread&)>& body);

// The same of a kernel.
template <typename Kernel>
void RunOnHost(const GridShape& shape, uint64_t seed, const Kernel& kernel) {
  RunGridOnHost(shape, seed, [&](HostThread& thread) { kernel(thread); });
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_DEVICE_HOST_GRID_H_
