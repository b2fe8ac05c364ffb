// The schemes that send rows without a transform. The recordings say which rows; the vector is one
// block, of which their elements are sent.
#include "common/compression/payload.h"
#include "common/compression/topk.h"
#include "common/kernels/simd.h"
#include "tests/golden/replay.h"
#include "tests/golden/replica.h"

namespace isthmus {
namespace {

class RowReplay {
 public:
  RowReplay(const GoldenCase& golden, Comparison& comparison)
      : golden_(golden),
        manifest_(golden.manifest()),
        comparison_(comparison),
        nodes_(manifest_.at("nodes")),
        length_(golden.array("param0").size()),
        row_length_(manifest_.at("row_len")),
        rows_sent_(golden.array("row_idx").size() / manifest_.at("steps").get<size_t>()),
        format_{Transform::kNone, static_cast<uint32_t>(length_),
                static_cast<uint32_t>(rows_sent_ * row_length_), ValueFormat::kF32,
                Positions::kChosen},
        momentum_(nodes_, std::vector<float>(length_)),
        replica_(golden, 0, 1, length_) {}

  void Step(int step) {
    const PayloadPlace place{static_cast<uint64_t>(step), {0, 1}};
    const int stored = StoredIndex(golden_, step);
    const double delta_tolerance = Tolerance("delta");
    const std::vector<uint16_t> indices = Indices(step);
    std::vector<Sent> sent(nodes_);
    for (size_t node = 0; node < nodes_; ++node) {
      const size_t row = static_cast<size_t>(step) * nodes_ + node;
      std::vector<float>& momentum = momentum_[node];
      // Parity with the public code: the learning rate is inside the momentum.
      ActiveKernels().accumulate_flat(manifest_.at("decay"), manifest_.at("lr"),
                                      golden_.Floats("grad", row * length_, length_).data(),
                                      momentum.data(), length_);
      sent[node] = Send(place, indices, momentum);
      comparison_.Expect("row_val", row * indices.size(), sent[node].said.values, delta_tolerance);
      if (stored < 0) continue;
      comparison_.Expect("delta", (static_cast<size_t>(stored) * nodes_ + node) * length_, momentum,
                         delta_tolerance);
    }
    std::vector<float> u =
        MergeSent(MergeRule::kMean, format_, place, sent, comparison_).coefficients;
    if (stored >= 0) {
      comparison_.Expect("agg", static_cast<size_t>(stored) * length_, u, Tolerance("agg"));
    }
    for (float& value : u) {
      if (manifest_.at("sign")) value = value > 0 ? 1.0f : value < 0 ? -1.0f : 0.0f;
    }
    replica_.Apply(step, u, comparison_);
  }

 private:
  double Tolerance(const char* array) const {
    return 4e-6 * manifest_.at("scale_of").at(array).get<double>();
  }

  // The elements of the rows that `step` sends, ascending.
  std::vector<uint16_t> Indices(int step) const {
    std::vector<uint16_t> indices;
    for (size_t i = 0; i < rows_sent_; ++i) {
      const double row = golden_.array("row_idx").at(static_cast<size_t>(step) * rows_sent_ + i);
      for (size_t j = 0; j < row_length_; ++j) {
        indices.push_back(static_cast<uint16_t>(static_cast<size_t>(row) * row_length_ + j));
      }
    }
    return indices;
  }

  // Takes the elements out of the momentum, as demo_codec.h does at the positions it knows.
  Sent Send(const PayloadPlace& place, const std::vector<uint16_t>& indices,
            std::vector<float>& momentum) {
    Selection selection{0, 1, indices, {}};
    for (uint16_t index : indices) selection.values.push_back(momentum.at(index));
    if (indices.size() == length_) selection.indices.clear();  // all are sent
    Sent sent;
    sent.payload = EncodePayload(format_, place.round, selection);
    const auto said = DecodePayload(std::as_bytes(std::span(sent.payload)), format_, place);
    if (!said.ok()) {
      comparison_.Fail(said.status().ToString());
      return sent;
    }
    sent.said = *said;
    for (size_t i = 0; i < indices.size(); ++i) momentum[indices[i]] -= sent.said.values[i];
    return sent;
  }

  const GoldenCase& golden_;
  const nlohmann::json& manifest_;
  Comparison& comparison_;
  const size_t nodes_;
  const size_t length_;
  const size_t row_length_;
  const size_t rows_sent_;
  const PayloadFormat format_;
  std::vector<std::vector<float>> momentum_;  // per node
  Replica replica_;
};

}  // namespace

void ReplayRows(const GoldenCase& golden, Comparison& comparison) {
  const nlohmann::json& manifest = golden.manifest();
  const size_t length = golden.array("param0").size();
  const size_t rows = manifest.at("rows"), row_length = manifest.at("row_len");
  const int steps = manifest.at("steps");
  if (manifest.at("shards") != 1 || rows * row_length != length || length > kMaxBlockSize ||
      steps < 1 || golden.array("row_idx").size() < static_cast<size_t>(steps)) {
    return comparison.Fail(absl::StrCat("expected 1 shard of ", length, " = rows x row_len <= ",
                                        kMaxBlockSize, " elements, got ", rows, " x ", row_length));
  }
  for (double row : golden.array("row_idx")) {
    if (!(row >= 0 && row < static_cast<double>(rows))) {
      return comparison.Fail(absl::StrCat("row_idx: expected below ", rows, ", got ", row));
    }
  }
  RowReplay replay(golden, comparison);
  for (int step = 0; step < steps; ++step) replay.Step(step);
}

}  // namespace isthmus
