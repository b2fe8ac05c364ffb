// codec_benchmark [CHUNK K]: nanoseconds per parameter of the codec over 1 Mi parameters, one
// thread, the median of repeats, beside a memory copy of the same length.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "common/compression/dct.h"
#include "common/compression/demo_codec.h"
#include "common/compression/merge.h"
#include "common/compression/payload.h"
#include "common/compression/topk.h"
#include "common/compression/update_payload.h"
#include "common/optimizer/optimizer.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

constexpr size_t kLength = size_t{1} << 20;
constexpr int kRepeats = 21;

void Measure(const char* name, const std::function<void()>& body) {
  std::vector<double> times;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    times.push_back(took.count() / static_cast<double>(kLength));
  }
  std::sort(times.begin(), times.end());
  std::printf("%-32s %7.3f ns/param  [%.3f - %.3f]\n", name, times[kRepeats / 2], times.front(),
              times.back());
}

void Run(uint32_t chunk_size, uint32_t k) {
  const PayloadFormat format{Transform::kDct, chunk_size, k, ValueFormat::kBf16};
  const BlockTransform transform(1, static_cast<int>(chunk_size));
  const uint64_t chunks = kLength / chunk_size;
  Rng rng(1);
  const std::vector<float> gradient = RandomVector(rng, kLength);
  std::vector<float> momentum(kLength);
  std::vector<float> out(kLength);
  Selection taken;
  Measure("memcpy", [&] { std::memcpy(out.data(), gradient.data(), kLength * sizeof(float)); });
  Measure("forward DCT", [&] { ForwardDct(static_cast<int>(chunk_size), gradient, out); });
  Measure("inverse DCT", [&] { InverseDct(static_cast<int>(chunk_size), gradient, out); });
  std::vector<uint16_t> indices(chunks * k);
  std::vector<float> values(chunks * k);
  Measure("top-k", [&] {
    SelectTopK(gradient, static_cast<int>(chunk_size), static_cast<int>(k), indices, values);
  });
  Measure("accumulate", [&] { AccumulateMomentum(transform, 0.999f, 1.0f, gradient, momentum); });
  Measure("accumulate + extract", [&] {
    AccumulateMomentum(transform, 0.999f, 1.0f, gradient, momentum);
    taken = ExtractTopK(format, 0, momentum);
  });
  std::string payload;
  Measure("encode payload", [&] { payload = EncodePayload(format, taken); });
  Measure("decode payload",
          [&] { (void)DecodePayload(std::as_bytes(std::span(payload)), format, 0, chunks); });
  const std::vector<Selection> groups = {RandomSelection(rng, format, 0, chunks),
                                         RandomSelection(rng, format, 0, chunks)};
  const std::vector<MergeInput> inputs = {{1.0f, {&groups[0], 1}}, {1.0f, {&groups[1], 1}}};
  MergedBucket merged;
  Measure("merge 2 groups",
          [&] { merged = Merge(MergeRule::kSenderMean, chunk_size, k, 0, chunks, inputs); });
  for (bool sign : {false, true}) {
    const UpdateFormat update_format{Transform::kDct, chunk_size, sign};
    std::string update;
    Measure(sign ? "encode update, signs" : "encode update, values",
            [&] { update = EncodeUpdate(update_format, merged); });
    Measure(sign ? "parse + direction, signs" : "parse + direction, values", [&] {
      UpdateView::Parse(std::as_bytes(std::span(update)), update_format, 0, chunks)
          ->Direction(0, out);
    });
  }
  std::vector<float> parameters(kLength);
  Measure("SGD", [&] { ApplyDirection({}, {0.001f}, out, parameters, {}, {}); });
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) {
  const int chunk_size = argc == 3 ? std::atoi(argv[1]) : 64;
  const int k = argc == 3 ? std::atoi(argv[2]) : 4;
  if ((argc != 1 && argc != 3) || !isthmus::IsChunkSize(chunk_size) || k < 1 || k >= chunk_size) {
    std::fprintf(stderr, "usage: codec_benchmark [CHUNK K]\n");
    return 2;
  }
  isthmus::Run(static_cast<uint32_t>(chunk_size), static_cast<uint32_t>(k));
  return 0;
}
