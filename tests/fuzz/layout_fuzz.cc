// The layout that a worker declares: v1::Layout's bytes, FromProto and Layout::Create.
//
//   input := the bytes of a v1::Layout
//
// scripts/fuzz: -max_len=1024
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "common/transport/convert.h"
#include "tests/fuzz/fuzz_input.h"

namespace isthmus::fuzz {
namespace {

void CheckOffsets(const Layout& layout) {
  uint64_t end = 0;
  uint64_t sum = 0;
  uint32_t groups = 0;
  ISTHMUS_CHECK(layout.offsets().size() == layout.tensors().size());
  ISTHMUS_CHECK(layout.counts().size() == layout.tensors().size());
  for (size_t i = 0; i < layout.tensors().size(); ++i) {
    const TensorSpec& tensor = layout.tensors()[i];
    ISTHMUS_CHECK(!tensor.name.empty() && tensor.name.size() <= kMaxNameBytes);
    uint64_t count = 1;
    for (int64_t extent : tensor.shape) {
      ISTHMUS_CHECK(extent > 0 && static_cast<uint64_t>(extent) <= kMaxFlatLength / count);
      count *= static_cast<uint64_t>(extent);
    }
    ISTHMUS_CHECK(layout.counts()[i] == count);
    ISTHMUS_CHECK(layout.offsets()[i] % kTensorAlignment == 0);
    ISTHMUS_CHECK(layout.offsets()[i] >= end && layout.offsets()[i] - end < kTensorAlignment);
    end = layout.offsets()[i] + layout.counts()[i];
    sum += layout.counts()[i];
    groups = std::max(groups, tensor.parameter_group + 1);
  }
  ISTHMUS_CHECK(layout.length() % kUnitLength == 0 && layout.length() <= kMaxFlatLength);
  ISTHMUS_CHECK(layout.length() >= end && layout.length() - end < kUnitLength);
  ISTHMUS_CHECK(layout.logical_length() == sum);
  ISTHMUS_CHECK(layout.parameter_groups() == groups && groups <= kMaxParameterGroups);
}

void CheckSegments(const Layout& layout) {
  uint64_t end = 0;
  for (const Layout::Segment& segment : layout.segments()) {
    ISTHMUS_CHECK(segment.begin == end && segment.end > segment.begin);
    end = segment.end;
  }
  ISTHMUS_CHECK(end == layout.length());
  size_t s = 0;
  for (size_t i = 0; i < layout.tensors().size(); ++i) {
    while (layout.segments()[s].end <= layout.offsets()[i]) ++s;
    ISTHMUS_CHECK(layout.segments()[s].parameter_group == layout.tensors()[i].parameter_group);
    ISTHMUS_CHECK(layout.offsets()[i] + layout.counts()[i] <= layout.segments()[s].end);
  }
}

void CheckConstants(const Layout& layout) {
  uint64_t end = 0;
  ISTHMUS_CHECK(layout.constant_offsets().size() == layout.constants().size());
  for (size_t i = 0; i < layout.constants().size(); ++i) {
    const uint64_t offset = layout.constant_offsets()[i];
    ISTHMUS_CHECK(offset % 64 == 0 && offset >= end && offset - end < 64);
    ISTHMUS_CHECK(layout.constants()[i].size_bytes <= kMaxConstantBytes);
    end = offset + layout.constants()[i].size_bytes;
  }
  ISTHMUS_CHECK(layout.constants_bytes() >= end && layout.constants_bytes() <= kMaxConstantBytes);
}

void CheckRoundTrip(const Layout& layout) {
  v1::Layout message;
  ToProto(layout, &message);
  const std::string bytes = message.SerializeAsString();
  v1::Layout reread;
  ISTHMUS_CHECK(reread.ParseFromString(bytes));
  const absl::StatusOr<Layout> again = FromProto(reread);
  ISTHMUS_CHECK(again.ok());
  ISTHMUS_CHECK(layout.DifferenceFrom(*again).empty());
  ISTHMUS_CHECK(layout.offsets() == again->offsets() && layout.length() == again->length());
  v1::Layout twice;
  ToProto(*again, &twice);
  ISTHMUS_CHECK(twice.SerializeAsString() == bytes);
}

void FuzzLayout(const uint8_t* data, size_t size) {
  // Protobuf would tell every name that is not UTF-8.
  [[maybe_unused]] static auto* const silenced = google::protobuf::SetLogHandler(nullptr);
  v1::Layout message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return;
  absl::StatusOr<Layout> layout = absl::UnknownError("");
  {
    // Names and shapes once more, and some numbers per entry; nothing by what a shape declares.
    const auto entries = static_cast<uint64_t>(message.tensors_size() + message.constants_size());
    const MemoryBound bound((uint64_t{16} << 10) + 512 * std::min(entries, 2 * kMaxTensors) +
                            16 * size);
    layout = FromProto(message);
  }
  if (!layout.ok()) {
    ISTHMUS_CHECK(layout.status().code() == absl::StatusCode::kInvalidArgument);
    return CheckRefusal(layout.status());
  }
  CountAccepted();
  CheckOffsets(*layout);
  CheckSegments(*layout);
  CheckConstants(*layout);
  CheckRoundTrip(*layout);
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzLayout(data, size);
  return 0;
}
