#include "cli/link/link_trace.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "common/base/printable.h"

namespace isthmus {
namespace {

constexpr size_t kMaxLines = 100'000;
constexpr double kMostSeconds = 86'400;

absl::Status Wrong(size_t line, const std::string& expected, absl::string_view actual) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": expected ", expected, ", got '",
                                                 Printable(std::string(actual.substr(0, 100))),
                                                 "'"));
}

}  // namespace

absl::StatusOr<LinkTrace> LinkTrace::Parse(absl::string_view text) {
  LinkTrace trace;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (++number > kMaxLines) {
      return Wrong(number, absl::StrCat("at most ", kMaxLines, " lines"), "more");
    }
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    double seconds = 0;
    if (words.size() != 2 || !absl::SimpleAtod(words[0], &seconds) || !(seconds >= 0) ||
        seconds > kMostSeconds) {
      return Wrong(number, "seconds and a link, as in '30 1mbit/40ms'", line);
    }
    const absl::Duration from = absl::Seconds(seconds);
    if (trace.repeat_) return Wrong(number, "nothing after repeat", line);
    if (trace.changes_.empty() && from > absl::ZeroDuration()) {
      return Wrong(number, "the first change at 0", line);
    }
    if (!trace.changes_.empty() && from <= trace.changes_.back().from) {
      return Wrong(number, "a later time than the line before", line);
    }
    if (words[1] == "repeat" && !trace.changes_.empty()) {
      trace.repeat_ = from;
      continue;
    }
    const absl::StatusOr<LinkSpec> link = ParseLinkSpec(words[1]);
    if (!link.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": ", link.status().message()));
    }
    trace.changes_.push_back({from, *link});
  }
  if (trace.changes_.empty()) return Wrong(number, "a link at 0, as in '0 10mbit/40ms'", "");
  return trace;
}

const LinkSpec& LinkTrace::At(absl::Duration since) const {
  if (repeat_) since = since % *repeat_;
  const auto after =
      std::upper_bound(changes_.begin(), changes_.end(), since,
                       [](absl::Duration at, const Change& change) { return at < change.from; });
  return std::prev(after)->link;
}

}  // namespace isthmus
