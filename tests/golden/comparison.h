// Compares what we computed with what was recorded, and remembers the first difference.
#ifndef ISTHMUS_TESTS_GOLDEN_COMPARISON_H_
#define ISTHMUS_TESTS_GOLDEN_COMPARISON_H_

#include <absl/strings/str_cat.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/golden/golden_case.h"

namespace isthmus {

class Comparison {
 public:
  explicit Comparison(const GoldenCase& golden) : golden_(golden) {}

  // `actual` against the elements of `array` from `begin`, each within `tolerance`. Elements whose
  // `mask` is false are not compared; an empty mask compares all.
  template <typename T>
  void Expect(const std::string& array, size_t begin, const std::vector<T>& actual,
              double tolerance, const std::vector<bool>& mask = {}) {
    const std::vector<double>& expected = golden_.array(array);
    for (size_t i = 0; i < actual.size() && difference_.empty(); ++i) {
      if (!mask.empty() && !mask[i]) continue;
      const double value = static_cast<double>(actual[i]);
      // Negated, so that a NaN differs.
      if (!(std::abs(value - expected.at(begin + i)) <= tolerance)) {
        Fail(absl::StrCat(array, "[", begin + i, "] expected ", expected.at(begin + i), ", got ",
                          value, ", tolerance ", tolerance));
      }
    }
  }
  void Fail(const std::string& difference) {
    if (difference_.empty()) difference_ = difference;
  }
  // Empty when nothing differed.
  const std::string& difference() const { return difference_; }

 private:
  const GoldenCase& golden_;
  std::string difference_;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GOLDEN_COMPARISON_H_
