// Payloads of contributions. The input is that of payload_input.h.
#include <cmath>

#include "tests/fuzz/payload_input.h"

namespace isthmus::fuzz {
namespace {

void FuzzPayload(const uint8_t* data, size_t size) {
  const PayloadCase<PayloadFormat> c = ReadContribution(Input(data, size));
  const uint64_t kept = c.chunk_count * c.format.k;
  absl::StatusOr<Selection> selection = absl::UnknownError("");
  {
    const MemoryBound bound(kept * (sizeof(float) + sizeof(uint16_t)) + 4096);
    selection = DecodePayload(AsBytes(c.payload), c.format, c.first_chunk, c.chunk_count);
  }
  if (!selection.ok()) return CheckRefusal(selection.status());
  CountAccepted();
  ISTHMUS_CHECK(selection->first_chunk == c.first_chunk);
  ISTHMUS_CHECK(selection->chunk_count == c.chunk_count);
  ISTHMUS_CHECK(selection->values.size() == kept);
  for (float value : selection->values) {
    ISTHMUS_CHECK(std::isfinite(value) && QuantizeValue(c.format.values, value) == value);
  }
  const bool indexed = c.format.k < c.format.chunk_size;
  ISTHMUS_CHECK(selection->indices.size() == (indexed ? kept : 0));
  for (size_t i = 0; i < selection->indices.size(); ++i) {
    ISTHMUS_CHECK(selection->indices[i] < c.format.chunk_size);
    ISTHMUS_CHECK(i % c.format.k == 0 || selection->indices[i] > selection->indices[i - 1]);
  }
  // There is one encoding of each selection.
  ISTHMUS_CHECK(EncodePayload(c.format, *selection) == c.payload);
}

}  // namespace
}  // namespace isthmus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isthmus::fuzz::FuzzPayload(data, size);
  return 0;
}
