#include "common/device/host_device.h"

#include <gtest/gtest.h>

#include <vector>

namespace isthmus {
namespace {

constexpr size_t kBytes = 4 * sizeof(int);

TEST(HostDeviceTest, DoesNothingBeforeSomeoneWaits) {
  HostDevice device;
  const DeviceMemory memory = device.Allocate(kBytes).value();
  const auto stream = device.MakeStream().value();
  std::vector<int> in = {1, 2, 3, 4}, out(4);
  stream->CopyIn(memory.data(), in.data(), kBytes);
  stream->CopyOut(out.data(), memory.data(), kBytes);
  in[0] = 9;  // too soon, and it shows
  EXPECT_EQ(out[1], 0);
  EXPECT_TRUE(stream->Synchronize().ok());
  EXPECT_EQ(out, (std::vector<int>{9, 2, 3, 4}));
}

TEST(HostDeviceTest, AStreamWaitsForAnothersEvent) {
  HostDevice device;
  const DeviceMemory memory = device.Allocate(kBytes).value();
  const auto first = device.MakeStream().value(), second = device.MakeStream().value();
  const std::vector<int> in = {1, 2, 3, 4};
  std::vector<int> out(4);
  first->CopyIn(memory.data(), in.data(), kBytes);
  const auto written = first->Record();
  first->Zero(memory.data(), kBytes);
  second->Wait(written);
  second->CopyOut(out.data(), memory.data(), kBytes);
  const auto read = second->Record();
  EXPECT_FALSE(written->Done());
  EXPECT_TRUE(second->Synchronize().ok());
  EXPECT_TRUE(written->Done());
  EXPECT_TRUE(read->Done());
  EXPECT_EQ(out, in);  // what came after the event is still to be done
  first->Wait(read);
  EXPECT_TRUE(first->Synchronize().ok());
}

TEST(HostDeviceTest, TheFirstFailureStays) {
  HostDevice device;
  HostStream stream;
  int done = 0;
  stream.Queue([&] {
    ++done;
    return absl::InternalError("first");
  });
  stream.Queue([&] {
    ++done;
    return absl::InternalError("second");
  });
  EXPECT_EQ(stream.Synchronize().message(), "first");
  EXPECT_EQ(done, 1);
  EXPECT_EQ(stream.Synchronize().message(), "first");
}

TEST(HostDeviceTest, SaysWhatIsNeededAndFree) {
  HostDevice device(1000);
  const auto most = device.Allocate(900);
  ASSERT_TRUE(most.ok());
  const auto more = device.Allocate(200);
  EXPECT_EQ(more.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(more.status().message(), "host: 200 bytes needed, 100 free");
  EXPECT_TRUE(device.AllocatePinned(2000).ok());  // the host's
}

TEST(HostDeviceTest, MemoryIsFreedOnceWhereverItWent) {
  HostDevice device(100);
  DeviceMemory memory = device.Allocate(100).value();
  DeviceMemory moved = std::move(memory);
  EXPECT_EQ(moved.size_bytes(), 100u);
  EXPECT_FALSE(device.Allocate(1).ok());
  moved = DeviceMemory();
  EXPECT_TRUE(device.Allocate(100).ok());
}

TEST(HostDeviceTest, WhatIsToBeFreedLaterStaysUntilItIsDueOrThereIsNoRoom) {
  HostDevice device(100);
  device.FreeLater(device.Allocate(60).value());
  EXPECT_TRUE(device.FreeLeft());
  EXPECT_FALSE(device.FreeLeft());
  device.FreeLater(device.Allocate(60).value());
  EXPECT_TRUE(device.Allocate(40).ok());
  EXPECT_TRUE(device.FreeLeft()) << "there was room without it";
  device.FreeLater(device.Allocate(60).value());
  EXPECT_TRUE(device.Allocate(41).ok());
  EXPECT_FALSE(device.FreeLeft()) << "there was none";
  device.FreeLater(DeviceMemory());
  device.FreeLater(device.Allocate(60).value());  // and the device's end
}

}  // namespace
}  // namespace isthmus
