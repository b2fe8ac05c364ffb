#include "common/device/host_sharing.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/device/host_device.h"

namespace isthmus {
namespace {

TEST(HostSharingTest, MemoryIsZeroAndFoundByItsHandle) {
  HostDevice device(1 << 20);
  const SharedDeviceMemory shared = device.AllocateShared(4096).value();
  auto* const here = shared.memory.as<unsigned char>();
  EXPECT_EQ(here[4095], 0);
  const HostSharedFile there = HostSharedFile::Open(shared.handle.data());
  ASSERT_NE(there.data(), nullptr);
  EXPECT_EQ(there.size_bytes(), 4096u);
  static_cast<unsigned char*>(there.data())[7] = 42;
  EXPECT_EQ(here[7], 42);
}

TEST(HostSharingTest, MemoryThatIsGoneIsNotFound) {
  DeviceHandle handle;
  {
    HostDevice device(1 << 20);
    handle = device.AllocateShared(4096).value().handle;
  }
  EXPECT_EQ(HostSharedFile::Open(handle.data()).data(), nullptr);
}

TEST(HostSharingTest, CountsAsAnyMemoryOfTheDevice) {
  HostDevice device(5000);
  const SharedDeviceMemory shared = device.AllocateShared(4096).value();
  EXPECT_EQ(device.AllocateShared(4096).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(HostSharingTest, DoneOnceTheLastRecordOfEitherIsReached) {
  HostDevice device;
  const auto event = device.MakeSharedEvent().value();
  EXPECT_TRUE(event->Done()) << "nothing was recorded";
  const HostSharedFile file = HostSharedFile::Open(event->handle().data());
  auto& other = *static_cast<HostSharedCounts*>(file.data());
  const uint64_t first = RecordShared(other), second = RecordShared(other);
  ReachShared(other, first);
  EXPECT_FALSE(event->Done());
  ReachShared(other, second);
  EXPECT_TRUE(event->Done());

  const auto stream = device.MakeStream().value();
  event->Record(*stream);  // does nothing before someone waits
  EXPECT_FALSE(event->Done());
  EXPECT_TRUE(stream->Synchronize().ok());
  EXPECT_TRUE(event->Done());
}

TEST(HostSharingTest, TheOtherWaitsForWhatAStreamDoes) {
  HostDevice device(1 << 20, HostWork::kByThread);
  const auto event = device.MakeSharedEvent().value();
  const auto stream = device.MakeStream().value();
  std::atomic<bool> go = false, done = false;
  static_cast<HostStream&>(*stream).Queue([&] {
    while (!go) std::this_thread::yield();
    done = true;
    return absl::OkStatus();
  });
  event->Record(*stream);
  const HostSharedFile file = HostSharedFile::Open(event->handle().data());
  const auto& counts = *static_cast<const HostSharedCounts*>(file.data());
  EXPECT_EQ(counts.recorded, 1u);
  EXPECT_EQ(counts.reached, 0u);
  go = true;
  AwaitShared(counts, 1);
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace isthmus
