#include "common/device/host_grid.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "common/base/check.h"
#include "common/base/mix64.h"
#include "common/device/fiber.h"

// (Clang has its own way to say so.)
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define ISTHMUS_FIBERS_WATCHED 1
#endif

namespace isthmus {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr uint32_t kMaxThreads = 1024;

enum class Place : uint8_t { kRunning, kBlockBarrier, kWarpBarrier, kReturned };

const char* NameOf(Place place) {
  switch (place) {
    case Place::kRunning:
      return "runs";
    case Place::kBlockBarrier:
      return "waits for its block";
    case Place::kWarpBarrier:
      return "waits for its warp";
    case Place::kReturned:
      return "has returned";
  }
  return "";
}

// Stacks of a thread's fibers, kept from grid to grid: making them anew for each would cost more
// than most kernels. Only what has been touched is there.
class Stacks {
 public:
  Stacks() {
    void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ISTHMUS_CHECK(memory != MAP_FAILED);
    memory_ = static_cast<char*>(memory);
    Forget(memory_, kBytes);
  }
  ~Stacks() {
    Forget(memory_, kBytes);  // whoever has these addresses next
    ::munmap(memory_, kBytes);
  }
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  char* of(uint32_t thread) { return memory_ + thread * kStackBytes; }
  // Of a fiber that is not running and begins anew: what a sanitizer knows of the frames at its
  // bottom, which were never left.
  void ForgetBottom(uint32_t thread) {
    Forget(of(thread) + kStackBytes - kBottomBytes, kBottomBytes);
  }

 private:
  static constexpr size_t kBytes = kMaxThreads * kStackBytes;
  static constexpr size_t kBottomBytes = 4 << 10;
  static void Forget([[maybe_unused]] char* memory, [[maybe_unused]] size_t bytes) {
#if defined(ISTHMUS_FIBERS_WATCHED)
    __asan_unpoison_memory_region(memory, bytes);
#endif
  }
  char* memory_ = nullptr;
};

Stacks& StacksOfThisThread() {
  static thread_local Stacks stacks;
  return stacks;
}

}  // namespace

// One block's threads. Single-threaded.
class HostBlock {
 public:
  HostBlock(const GridShape& shape, uint64_t seed, const std::function<void(HostThread&)>& body)
      : shape_(shape),
        body_(body),
        stacks_(StacksOfThisThread()),
        fibers_(shape.threads),
        values_(shape.threads),
        order_(shape.threads) {
    std::iota(order_.begin(), order_.end(), 0u);
    for (uint32_t i = shape.threads; seed != 0 && i > 1; --i) {
      seed = Mix64(seed + 0x9e3779b97f4a7c15ULL);
      std::swap(order_[i - 1], order_[seed % i]);
    }
  }

  void Run(uint32_t block) {
    block_ = block;
    // Of its size exactly, so that a sanitizer sees where it ends; full of NaN.
    shared_ = std::make_unique<unsigned char[]>(shape_.shared_bytes);
    std::fill_n(shared_.get(), shape_.shared_bytes, uint8_t{0x7f});
    for (size_t i = 2; i < shape_.shared_bytes; i += 4) shared_[i] = 0xba;
    for (uint32_t i = 0; i < shape_.threads; ++i) Start(i);
    while (true) {
      for (uint32_t i : order_) {
        if (fibers_[i].place == Place::kRunning) Resume(i);
      }
      if (!Release()) break;
    }
  }

  const GridShape& shape() const { return shape_; }
  uint32_t block() const { return block_; }
  unsigned char* shared() { return shared_.get(); }  // new[] aligns to 16 bytes
  std::vector<uint32_t>& values() { return values_; }

  // Of the fiber that runs: waits until all of its block, or warp, wait there.
  void Wait(Place place) {
    Fiber& fiber = fibers_[running_];
    fiber.place = place;
    LeaveFiber(fiber, false);
  }

 private:
  struct Fiber {
    FiberContext context;
    Place place = Place::kReturned;
    void* fake_stack = nullptr;
  };

  static void Entry() { entering_->Body(); }

  void Body() {
#if defined(ISTHMUS_FIBERS_WATCHED)
    __sanitizer_finish_switch_fiber(nullptr, &main_stack_, &main_stack_bytes_);
#endif
    {
      HostThread thread(this, running_);
      body_(thread);
    }
    Fiber& fiber = fibers_[running_];
    fiber.place = Place::kReturned;
    LeaveFiber(fiber, true);
  }

  void Start(uint32_t i) {
    stacks_.ForgetBottom(i);
    PrepareFiber(&fibers_[i].context, stacks_.of(i), kStackBytes, &HostBlock::Entry);
    fibers_[i].place = Place::kRunning;
  }

  void Resume(uint32_t i) {
    running_ = i;
    entering_ = this;
#if defined(ISTHMUS_FIBERS_WATCHED)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stacks_.of(i), kStackBytes);
#endif
    SwitchFiber(&main_, &fibers_[i].context);
#if defined(ISTHMUS_FIBERS_WATCHED)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  void LeaveFiber(Fiber& fiber, [[maybe_unused]] bool for_good) {
#if defined(ISTHMUS_FIBERS_WATCHED)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, main_stack_,
                                   main_stack_bytes_);
#endif
    SwitchFiber(&fiber.context, &main_);
#if defined(ISTHMUS_FIBERS_WATCHED)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
  }

  // Lets go who waited together: true if anybody.
  bool Release() {
    bool any = false;
    for (uint32_t first = 0; first < shape_.threads; first += kWarpThreads) {
      const uint32_t end = std::min(first + kWarpThreads, shape_.threads);
      any |= ReleaseIfAll(first, end, Place::kWarpBarrier);
    }
    if (!any) any = ReleaseIfAll(0, shape_.threads, Place::kBlockBarrier);
    if (any) return true;
    for (uint32_t i = 0; i < shape_.threads; ++i) {
      if (fibers_[i].place == Place::kReturned && fibers_[0].place == Place::kReturned) continue;
      if (fibers_[i].place == fibers_[0].place && i + 1 < shape_.threads) continue;
      std::fprintf(stderr, "block %u: thread 0 %s, thread %u %s: they never meet\n", block_,
                   NameOf(fibers_[0].place), i, NameOf(fibers_[i].place));
      std::abort();
    }
    return false;
  }
  bool ReleaseIfAll(uint32_t begin, uint32_t end, Place place) {
    for (uint32_t i = begin; i < end; ++i) {
      if (fibers_[i].place != place) return false;
    }
    for (uint32_t i = begin; i < end; ++i) fibers_[i].place = Place::kRunning;
    return true;
  }

  const GridShape shape_;
  const std::function<void(HostThread&)>& body_;
  uint32_t block_ = 0;
  uint32_t running_ = 0;
  FiberContext main_;
  [[maybe_unused]] const void* main_stack_ = nullptr;
  [[maybe_unused]] size_t main_stack_bytes_ = 0;
  Stacks& stacks_;
  static thread_local HostBlock* entering_;  // what Entry() is to run
  std::vector<Fiber> fibers_;
  std::vector<uint32_t> values_;  // what threads show each other at a barrier
  std::vector<uint32_t> order_;
  std::unique_ptr<unsigned char[]> shared_;
};

thread_local HostBlock* HostBlock::entering_ = nullptr;

uint32_t HostThread::block() const { return block_->block(); }
uint32_t HostThread::blocks() const { return block_->shape().blocks; }
uint32_t HostThread::threads() const { return block_->shape().threads; }
unsigned char* HostThread::shared() const { return block_->shared(); }
void HostThread::Sync() { block_->Wait(Place::kBlockBarrier); }
void HostThread::SyncWarp() { block_->Wait(Place::kWarpBarrier); }

bool HostThread::Any(bool value) {
  block_->values()[index_] = value ? 1 : 0;
  Sync();
  uint32_t any = 0;
  for (uint32_t other : block_->values()) any |= other;
  Sync();  // before a thread says something else
  return any != 0;
}

uint32_t HostThread::Ballot(bool value) {
  block_->values()[index_] = value ? 1 : 0;
  SyncWarp();
  const uint32_t first = index_ / kWarpThreads * kWarpThreads;
  const uint32_t end = std::min(first + kWarpThreads, threads());
  uint32_t bits = 0;
  for (uint32_t i = first; i < end; ++i) bits |= block_->values()[i] << (i - first);
  SyncWarp();
  return bits;
}

void RunGridOnHost(const GridShape& shape, uint64_t seed,
                   const std::function<void(HostThread&)>& body) {
  ISTHMUS_CHECK(shape.threads > 0 && shape.threads <= kMaxThreads);
  HostBlock block(shape, seed, body);
  for (uint32_t i = 0; i < shape.blocks; ++i) block.Run(i);
}

}  // namespace isthmus
