// The device and the kernels that the tests of this folder are about: the host's in every build
// (host_test_bed.cc), a GPU's where there is one (tests/gpu).
#ifndef ISTHMUS_TESTS_COMMON_GPU_TEST_BED_H_
#define ISTHMUS_TESTS_COMMON_GPU_TEST_BED_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/base/check.h"
#include "common/gpu/gpu_kernels.h"
#include "common/gpu/lane_tiles.h"
#include "common/gpu/record_tables.h"

namespace isthmus {

struct TestBed {
  // Of the test program. CHECKs that there is a device.
  static TestBed& Get();

  std::unique_ptr<Device> device;
  std::unique_ptr<DeviceStream> stream;
  // Those of a GPU are all the same; the host's differ in the order in which threads run.
  std::vector<std::unique_ptr<GpuKernels>> kernels;

  const GpuKernels& Kernels(uint64_t choice) const { return *kernels[choice % kernels.size()]; }
};

// An array in the device's memory, of exactly this size.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : DeviceArray(std::vector<T>(count)) {}
  explicit DeviceArray(const std::vector<T>& from)
      : memory_(TestBed::Get().device->Allocate(from.size() * sizeof(T)).value()),
        count_(from.size()) {
    TestBed::Get().stream->CopyIn(memory_.data(), from.data(), count_ * sizeof(T));
    ISTHMUS_CHECK(TestBed::Get().stream->Synchronize().ok());
  }
  T* data() const { return memory_.as<T>(); }
  // Waits for what is queued.
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    TestBed::Get().stream->CopyOut(values.data(), memory_.data(), count_ * sizeof(T));
    const absl::Status status = TestBed::Get().stream->Synchronize();
    ISTHMUS_CHECK(status.ok());
    return values;
  }

 private:
  DeviceMemory memory_;
  const size_t count_;
};

// The tables of a format, on the device.
class DeviceTables {
 public:
  explicit DeviceTables(const PayloadFormat& format)
      : tables_(format), copy_(tables_.size_bytes()) {
    const std::vector<std::byte> bytes = tables_.BytesAt(copy_.data());
    TestBed::Get().stream->CopyIn(copy_.data(), bytes.data(), bytes.size());
    ISTHMUS_CHECK(TestBed::Get().stream->Synchronize().ok());
  }
  RecordFormat format() const { return tables_.FormatAt(copy_.data()); }

 private:
  const RecordTables tables_;
  DeviceArray<std::byte> copy_;
};

inline std::vector<float> ToLaneTiles(const std::vector<float>& rows, uint32_t chunk_size) {
  std::vector<float> tiles(LaneTiledLength(rows.size() / chunk_size, chunk_size));
  for (size_t i = 0; i < rows.size(); ++i) {
    tiles[LaneTilePlace(i / chunk_size, i % chunk_size, chunk_size)] = rows[i];
  }
  return tiles;
}

inline std::vector<float> FromLaneTiles(std::span<const float> tiles, size_t length,
                                        uint32_t chunk_size) {
  std::vector<float> rows(length);
  for (size_t i = 0; i < length; ++i) {
    rows[i] = tiles[LaneTilePlace(i / chunk_size, i % chunk_size, chunk_size)];
  }
  return rows;
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_GPU_TEST_BED_H_
