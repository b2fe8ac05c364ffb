#include "worker/jobs/rank_agreement.h"

#include <absl/strings/str_cat.h>

#include <cstddef>
#include <vector>

#include "common/tensor/elements.h"
#include "worker/jobs/attach_table.h"

namespace isthmus {
namespace {

absl::Status CheckSame(const char* what, const std::vector<float>& expected,
                       const std::string& whose, const std::vector<float>& actual) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(what, "[", i, "]: expected ", whose, "'s ", expected[i], ", got ", actual[i]));
  }
  return absl::OkStatus();
}

std::string InWords(const StepWants& wants) {
  if (wants.anchor) return "reads the anchor";
  return absl::StrCat(wants.give_first ? "is given an exchange, then " : "",
                      wants.take ? "begins an exchange" : "",
                      wants.take && wants.give ? " and " : "", wants.give ? "is given it" : "");
}

}  // namespace

absl::Status CheckSameModel(const Layout& expected, const std::string& whose,
                            const Layout& actual) {
  const std::string difference = expected.DifferenceFrom(actual);
  if (!difference.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("layout unlike that of ", whose, ": ", difference));
  }
  if (TypeOf(actual) != TypeOf(expected)) {
    return absl::FailedPreconditionError(absl::StrCat("dtype: expected ",
                                                      DTypeName(TypeOf(expected)), " as ", whose,
                                                      ", got ", DTypeName(TypeOf(actual))));
  }
  return absl::OkStatus();
}

absl::Status CheckSameStep(const RankStep& expected, const std::string& whose,
                           const RankStep& actual) {
  if (actual.wants != expected.wants) {
    return absl::InvalidArgumentError(absl::StrCat(
        "step: expected one that ", InWords(expected.wants), " as ", whose, "'s, got one that ",
        InWords(actual.wants), ": ranks have not taken the same number of steps"));
  }
  if (expected.wants.take && actual.step != expected.step) {
    return absl::InvalidArgumentError(absl::StrCat("step: expected number ", expected.step, " as ",
                                                   whose, "'s, got ", actual.step));
  }
  const absl::Status status = CheckSame("lr", expected.lr, whose, actual.lr);
  if (!status.ok()) return status;
  return CheckSame("weight_decay", expected.weight_decay, whose, actual.weight_decay);
}

}  // namespace isthmus
