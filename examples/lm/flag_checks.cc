#include "examples/lm/flag_checks.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace isthmus::lm {
namespace {

template <typename Holds>
FlagCheck Check(const std::string& expected, Holds holds) {
  return [=](const std::string& text) {
    return holds(text) ? std::string() : absl::StrCat("expected ", expected, ", got '", text, "'");
  };
}

bool ParseWhole(const std::string& text, uint64_t* value) {
  return absl::SimpleAtoi(text, value) &&
         std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         (text.size() == 1 || text.front() != '0');
}

}  // namespace

FlagCheck WholeNumber(uint64_t min, uint64_t max) {
  return Check(absl::StrCat("a whole number from ", min, " to ", max),
               [=](const std::string& text) {
                 uint64_t value = 0;
                 return ParseWhole(text, &value) && value >= min && value <= max;
               });
}

FlagCheck Number(double min, double max) {
  return Check(absl::StrCat("a number from ", min, " to ", max), [=](const std::string& text) {
    double value = 0;
    return absl::SimpleAtod(text, &value) && value >= min && value <= max;
  });
}

FlagCheck PositiveNumber(double max) {
  return Check(absl::StrCat("a number above 0, at most ", max), [=](const std::string& text) {
    double value = 0;
    return absl::SimpleAtod(text, &value) && value > 0 && value <= max;
  });
}

}  // namespace isthmus::lm
