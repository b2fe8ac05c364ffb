#include "common/compression/demo_codec.h"
#include "common/compression/merge.h"
#include "common/compression/update_payload.h"
#include "tests/golden/replay.h"
#include "tests/golden/replica.h"

namespace isthmus {

void ReplayFull(const GoldenCase& golden, Comparison& comparison) {
  const nlohmann::json& manifest = golden.manifest();
  const PayloadFormat format{Transform::kNone, 16, 16, ValueFormat::kF32};
  const UpdateFormat update_format{Transform::kNone, 16, manifest.at("sign")};
  const size_t length = golden.array("param0").size();
  const uint64_t chunks = (length + format.chunk_size - 1) / format.chunk_size;
  const size_t nodes = manifest.at("nodes");
  const double agg_tolerance = 4e-6 * manifest.at("scale_of").at("agg").get<double>();
  Replica replica(golden, 0, 1, length);
  for (int step = 0; step < manifest.at("steps"); ++step) {
    std::vector<Selection> received;
    for (size_t node = 0; node < nodes; ++node) {
      const size_t begin = (static_cast<size_t>(step) * nodes + node) * length;
      std::vector<float> momentum = golden.Floats("grad", begin, length);
      momentum.resize(chunks * format.chunk_size);  // the flat vector's padding
      received.push_back(OverTheWire(format, ExtractAll(format, 0, momentum), comparison));
    }
    std::vector<MergeInput> inputs;
    for (const Selection& selection : received) inputs.push_back({1.0f, {&selection, 1}});
    const MergedBucket merged =
        Merge(MergeRule::kMean, format.chunk_size, format.k, 0, chunks, inputs);
    std::vector<float> agg = merged.coefficients;
    agg.resize(length);
    if (const int stored = StoredIndex(golden, step); stored >= 0) {
      comparison.Expect("agg", static_cast<size_t>(stored) * length, agg, agg_tolerance);
    }
    const std::string update = EncodeUpdate(update_format, merged);
    const auto view = UpdateView::Parse(std::as_bytes(std::span(update)), update_format, 0, chunks);
    if (!view.ok()) return comparison.Fail(view.status().ToString());
    std::vector<float> u(chunks * format.chunk_size);
    view->Direction(0, u);
    u.resize(length);
    replica.Apply(step, u, comparison);
  }
}

}  // namespace isthmus
