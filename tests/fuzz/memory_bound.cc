// Replaces operator new, plain and of arrays, so that a target's memory can be bounded. Aligned
// allocations, which no decoder makes, stay the library's.
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "tests/fuzz/fuzz_input.h"

namespace {

struct Watch {
  bool on = false;
  int64_t live = 0;
  int64_t bound = 0;
};
thread_local constinit Watch watch;
uint64_t accepted = 0;

// Ends the process if more is held than may be, after an allocation of `size`.
void CheckBound(size_t size) noexcept {
  if (watch.live <= watch.bound) return;
  watch.on = false;
  std::fprintf(stderr, "memory bound: %lld bytes allowed, %lld held after one more of %zu\n",
               static_cast<long long>(watch.bound), static_cast<long long>(watch.live), size);
  std::abort();
}

void* Allocate(size_t size) noexcept {
  void* block = std::malloc(size == 0 ? 1 : size);
  if (watch.on && block != nullptr) {
    watch.live += static_cast<int64_t>(malloc_usable_size(block));
    CheckBound(size);
  }
  return block;
}

void* AllocateOrDie(size_t size) {
  void* block = Allocate(size);
  if (block == nullptr) std::abort();
  return block;
}

void Free(void* block) noexcept {
  if (watch.on && block != nullptr) watch.live -= static_cast<int64_t>(malloc_usable_size(block));
  std::free(block);
}

}  // namespace

void* operator new(size_t size) { return AllocateOrDie(size); }
void* operator new[](size_t size) { return AllocateOrDie(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void operator delete(void* block) noexcept { Free(block); }
void operator delete[](void* block) noexcept { Free(block); }
void operator delete(void* block, size_t) noexcept { Free(block); }
void operator delete[](void* block, size_t) noexcept { Free(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { Free(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { Free(block); }

namespace isthmus::fuzz {

MemoryBound::MemoryBound(uint64_t bytes) {
  ISTHMUS_CHECK(!watch.on);
  watch = {true, 0, static_cast<int64_t>(bytes)};
}

MemoryBound::~MemoryBound() { watch.on = false; }

void MemoryBound::Allow(uint64_t bytes) { watch.bound += static_cast<int64_t>(bytes); }
void MemoryBound::Disallow(uint64_t bytes) {
  watch.bound -= static_cast<int64_t>(bytes);
  CheckBound(0);
}

void CountAccepted() { ++accepted; }
uint64_t Accepted() { return accepted; }

}  // namespace isthmus::fuzz
