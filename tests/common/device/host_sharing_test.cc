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

// What waits for a record of the other process is done after it, and not before.
TEST(HostSharingTest, AStreamWaitsForTheLastRecordOfEither) {
  HostDevice device(1 << 20, HostWork::kByThread);
  const auto event = device.MakeSharedEvent().value();
  const HostSharedFile file = HostSharedFile::Open(event->handle().data());
  auto& other = *static_cast<HostSharedCounts*>(file.data());
  const auto stream = device.MakeStream().value();

  event->Wait(*stream);  // nothing was recorded
  EXPECT_TRUE(stream->Synchronize().ok());

  const uint64_t record = RecordShared(other);  // there, and not reached yet
  event->Wait(*stream);
  const auto after = stream->Record();
  RecordShared(other);  // comes too late to be waited for
  EXPECT_FALSE(after->Done());
  ReachShared(other, record);
  after->Await();
  EXPECT_TRUE(after->Done());
  ReachShared(other, record + 1);
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
