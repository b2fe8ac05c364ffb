#include "cli/bench/allocations.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

// Sanitizers bring an operator new of their own, and know which delete belongs to it; there,
// nothing is counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ISTHMUS_COUNT_ALLOCATIONS 0
#else
#define ISTHMUS_COUNT_ALLOCATIONS 1
#endif

namespace isthmus {
namespace {

std::atomic<uint64_t> allocations{0};
std::atomic<uint64_t> bytes_in_use{0};

#if ISTHMUS_COUNT_ALLOCATIONS
void* Allocate(std::size_t size, std::size_t alignment) {
  void* memory = alignment == 0 ? std::malloc(size == 0 ? 1 : size)
                                : std::aligned_alloc(
                                      alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  allocations.fetch_add(1, std::memory_order_relaxed);
  bytes_in_use.fetch_add(::malloc_usable_size(memory), std::memory_order_relaxed);
  return memory;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  bytes_in_use.fetch_sub(::malloc_usable_size(memory), std::memory_order_relaxed);
  std::free(memory);
}
#endif

}  // namespace

Allocations CountAllocations() {
  return {allocations.load(std::memory_order_relaxed),
          bytes_in_use.load(std::memory_order_relaxed)};
}

}  // namespace isthmus

#if ISTHMUS_COUNT_ALLOCATIONS
void* operator new(std::size_t size) { return isthmus::Allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return isthmus::Allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { isthmus::Free(memory); }
void operator delete(void* memory, std::size_t) noexcept { isthmus::Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { isthmus::Free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  isthmus::Free(memory);
}
#endif
