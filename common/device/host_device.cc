#include "common/device/host_device.h"

#include <absl/strings/str_cat.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <new>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr std::align_val_t kAlignment{16};

}  // namespace

// What is queued, and how far it has been done. Lazy: whoever waits does the work.
struct HostStream::State {
  Mutex queue_mu;
  CondVar more;
  std::deque<std::function<absl::Status()>> queue ABSL_GUARDED_BY(queue_mu);
  uint64_t queued ABSL_GUARDED_BY(queue_mu) = 0;
  bool closed ABSL_GUARDED_BY(queue_mu) = false;

  Mutex work_mu;  // held while working
  std::atomic<uint64_t> done = 0;
  absl::Status status ABSL_GUARDED_BY(work_mu);

  uint64_t Queue(std::function<absl::Status()> work) {
    MutexLock lock(&queue_mu);
    queue.push_back(std::move(work));
    more.NotifyAll();
    return ++queued;
  }
  // Until closed: what a stream's thread does.
  void Run() {
    while (true) {
      uint64_t end = 0;
      {
        MutexLock lock(&queue_mu);
        while (queue.empty() && !closed) more.Wait(&queue_mu);
        if (queue.empty()) return;
        end = queued;
      }
      RunUntil(end);
    }
  }
  void Close() {
    MutexLock lock(&queue_mu);
    closed = true;
    more.NotifyAll();
  }
  uint64_t End() {
    MutexLock lock(&queue_mu);
    return queued;
  }
  // Does what is queued, up to `end` operations since the beginning. (Without the lock where it is
  // done already: a stream may wait for one that waits for an earlier point of this one.)
  void RunUntil(uint64_t end) {
    if (done.load(std::memory_order_acquire) >= end) return;
    MutexLock lock(&work_mu);
    while (done.load(std::memory_order_relaxed) < end) {
      std::function<absl::Status()> work;
      {
        MutexLock queue_lock(&queue_mu);
        work = std::move(queue.front());
        queue.pop_front();
      }
      if (status.ok()) status = work();
      done.fetch_add(1, std::memory_order_release);
    }
  }
};

namespace {

class HostEvent : public DeviceEvent {
 public:
  HostEvent(std::function<void()> reach, std::function<bool()> done)
      : reach_(std::move(reach)), done_(std::move(done)) {}
  void Await() override { reach_(); }
  bool Done() override { return done_(); }

 private:
  const std::function<void()> reach_;
  const std::function<bool()> done_;
};

class HostSharedEvent : public SharedDeviceEvent {
 public:
  explicit HostSharedEvent(HostSharedFile file)
      : file_(std::make_shared<HostSharedFile>(std::move(file))) {
    file_->WriteHandle(handle_.data());
  }
  const DeviceHandle& handle() const override { return handle_; }
  void Record(DeviceStream& stream) override {
    const uint64_t record = RecordShared(counts());
    static_cast<HostStream&>(stream).Queue([file = file_, record] {
      ReachShared(*static_cast<HostSharedCounts*>(file->data()), record);
      return absl::OkStatus();
    });
  }
  bool Done() override {
    return counts().reached.load(std::memory_order_acquire) >=
           counts().recorded.load(std::memory_order_acquire);
  }

 private:
  HostSharedCounts& counts() { return *static_cast<HostSharedCounts*>(file_->data()); }

  const std::shared_ptr<HostSharedFile> file_;  // what is queued may outlive the event
  DeviceHandle handle_;
};

}  // namespace

HostStream::HostStream(HostWork work) : state_(std::make_shared<State>()) {
  if (work == HostWork::kByThread) thread_ = std::thread([state = state_] { state->Run(); });
}

HostStream::~HostStream() {
  state_->RunUntil(state_->End());
  state_->Close();
  if (thread_.joinable()) thread_.join();
}

void HostStream::Queue(std::function<absl::Status()> work) { state_->Queue(std::move(work)); }

void HostStream::Copy(void* to, const void* from, size_t size_bytes) {
  if (size_bytes == 0) return;
  Queue([to, from, size_bytes] {
    std::memcpy(to, from, size_bytes);
    return absl::OkStatus();
  });
}

void HostStream::CopyIn(void* device, const void* host, size_t size_bytes) {
  Copy(device, host, size_bytes);
}

void HostStream::CopyOut(void* host, const void* device, size_t size_bytes) {
  Copy(host, device, size_bytes);
}

void HostStream::Zero(void* device, size_t size_bytes) {
  if (size_bytes == 0) return;
  Queue([device, size_bytes] {
    std::memset(device, 0, size_bytes);
    return absl::OkStatus();
  });
}

std::shared_ptr<DeviceEvent> HostStream::Record() {
  const uint64_t end = state_->End();
  return std::make_shared<HostEvent>([state = state_, end] { state->RunUntil(end); },
                                     [state = state_, end] { return state->done >= end; });
}

void HostStream::Wait(const std::shared_ptr<DeviceEvent>& event) {
  Queue([event] {
    event->Await();
    return absl::OkStatus();
  });
}

absl::Status HostStream::Synchronize() {
  state_->RunUntil(state_->End());
  MutexLock lock(&state_->work_mu);
  return state_->status;
}

HostDevice::~HostDevice() {
  FreeLeft();
  MutexLock lock(&mu_);
  ISTHMUS_CHECK(allocations_ == 0);
}

bool HostDevice::TryToTake(size_t size_bytes) {
  MutexLock lock(&mu_);
  if (size_bytes > memory_bytes_ - used_bytes_) return false;
  used_bytes_ += size_bytes;
  ++allocations_;
  return true;
}

absl::Status HostDevice::Take(size_t size_bytes) {
  if (TryToTake(size_bytes) || (FreeLeft() && TryToTake(size_bytes))) return absl::OkStatus();
  MutexLock lock(&mu_);
  return absl::ResourceExhaustedError(absl::StrCat(name(), ": ", size_bytes, " bytes needed, ",
                                                   memory_bytes_ - used_bytes_, " free"));
}

absl::StatusOr<DeviceMemory> HostDevice::Allocate(size_t size_bytes) {
  ISTHMUS_RETURN_IF_ERROR(Take(size_bytes));
  return DeviceMemory(this, ::operator new(size_bytes, kAlignment), size_bytes, false);
}

absl::StatusOr<DeviceMemory> HostDevice::AllocatePinned(size_t size_bytes) {
  MutexLock lock(&mu_);
  ++allocations_;
  return DeviceMemory(this, ::operator new(size_bytes, kAlignment), size_bytes, true);
}

absl::StatusOr<std::unique_ptr<DeviceStream>> HostDevice::MakeStream() {
  return std::make_unique<HostStream>(work_);
}

Device::Uuid HostDevice::uuid() const {
  Uuid uuid = {};
  std::memcpy(uuid.data(), "host", 4);
  return uuid;
}

absl::StatusOr<SharedDeviceMemory> HostDevice::AllocateShared(size_t size_bytes) {
  HostSharedFile file = HostSharedFile::Create(size_bytes);
  if (file.data() == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(name(), ": no file in memory of ", size_bytes, " bytes"));
  }
  ISTHMUS_RETURN_IF_ERROR(Take(size_bytes));
  SharedDeviceMemory made;
  made.memory = DeviceMemory(this, file.data(), size_bytes, false);
  file.WriteHandle(made.handle.data());
  MutexLock lock(&mu_);
  shared_[file.data()] = std::move(file);
  return made;
}

absl::StatusOr<std::unique_ptr<SharedDeviceEvent>> HostDevice::MakeSharedEvent() {
  HostSharedFile file = HostSharedFile::Create(sizeof(HostSharedCounts));
  if (file.data() == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(name(), ": no file in memory for an event"));
  }
  return std::make_unique<HostSharedEvent>(std::move(file));
}

void HostDevice::Free(const DeviceMemory& memory) {
  MutexLock lock(&mu_);
  if (shared_.erase(memory.data()) == 0) ::operator delete(memory.data(), kAlignment);
  --allocations_;
  if (!memory.pinned()) used_bytes_ -= memory.size_bytes();
}

}  // namespace isthmus
