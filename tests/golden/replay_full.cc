#include "common/compression/demo_codec.h"
#include "tests/golden/replay.h"
#include "tests/golden/replica.h"

namespace isthmus {

void ReplayFull(const GoldenCase& golden, Comparison& comparison) {
  const nlohmann::json& manifest = golden.manifest();
  const PayloadFormat format{Transform::kNone, 16, 16, ValueFormat::kF32};
  const UpdateFormat update_format{format, MergeRule::kMean, manifest.at("sign")};
  const size_t length = golden.array("param0").size();
  const uint64_t chunks = (length + format.chunk_size - 1) / format.chunk_size;
  const size_t nodes = manifest.at("nodes");
  const double agg_tolerance = 4e-6 * manifest.at("scale_of").at("agg").get<double>();
  Replica replica(golden, 0, 1, length);
  for (int step = 0; step < manifest.at("steps"); ++step) {
    const PayloadPlace place{static_cast<uint64_t>(step), {0, chunks}};
    std::vector<Sent> sent(nodes);
    for (size_t node = 0; node < nodes; ++node) {
      const size_t begin = (static_cast<size_t>(step) * nodes + node) * length;
      std::vector<float> momentum = golden.Floats("grad", begin, length);
      momentum.resize(chunks * format.chunk_size);  // the flat vector's padding
      Extract(format, place, 1.0f, momentum, &sent[node].payload);
    }
    if (const int stored = StoredIndex(golden, step); stored >= 0) {
      std::vector<float> agg =
          MergeSent(MergeRule::kMean, format, place, sent, comparison).coefficients;
      agg.resize(length);
      comparison.Expect("agg", static_cast<size_t>(stored) * length, agg, agg_tolerance);
    }
    std::vector<float> u = DirectionByDaemons(update_format, place, sent, comparison);
    u.resize(length);
    replica.Apply(step, u, comparison);
  }
}

}  // namespace isthmus
