#include "cli/bench/allocations.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace isthmus {
namespace {

std::atomic<uint64_t> allocations{0};
std::atomic<uint64_t> bytes_in_use{0};

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

}  // namespace

Allocations CountAllocations() {
  return {allocations.load(std::memory_order_relaxed),
          bytes_in_use.load(std::memory_order_relaxed)};
}

}  // namespace isthmus

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
