#include <algorithm>
#include <cmath>

#include "common/compression/block_transform.h"
#include "tests/golden/replay.h"

namespace isthmus {

void ReplayDct(const GoldenCase& golden, Comparison& comparison) {
  constexpr double kTolerance = 1e-6;  // of the largest value; the README states none
  for (const int n : golden.manifest().at("sizes")) {
    const BlockTransform transform(1, n);
    const std::string x_name = absl::StrCat("x", n);
    const std::string y_name = absl::StrCat("y", n);
    const std::vector<float> x = golden.Floats(x_name, 0, golden.array(x_name).size());
    std::vector<float> y(x.size());
    double scale = 0.0;
    for (double value : golden.array(y_name)) scale = std::max(scale, std::abs(value));
    transform.Forward(x, y);
    comparison.Expect(y_name, 0, y, kTolerance * scale);
    transform.Inverse(y, y);
    comparison.Expect(x_name, 0, y, kTolerance * scale);
  }
}

}  // namespace isthmus
