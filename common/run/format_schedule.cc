#include "common/run/format_schedule.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <string>

#include "common/base/status_macros.h"
#include "common/run/spec_fields.h"

namespace isthmus {
namespace {

constexpr size_t kMostLines = 100'000;

absl::Status ReadField(absl::string_view word, RunSpec* run) {
  const std::pair<std::string, std::string> field = absl::StrSplit(word, absl::MaxSplits('=', 1));
  const auto names = FormatFields();
  if (std::ranges::find(names, field.first) == names.end() || !absl::StrContains(word, '=')) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected FIELD=VALUE with one of ", absl::StrJoin(names, ", "), ", got '", word, "'"));
  }
  return FindSpecField(field.first)->parse(field.second, run);
}

absl::Status ReadLine(absl::string_view line, Round least, RunSpec* run, Round* from) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  uint64_t round = 0;
  if (!absl::SimpleAtoi(words[0], &round) || Round(round) < least) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a round from ", least.value(), " on, got '", words[0], "'"));
  }
  *from = Round(round);
  const RoundFormat before = run->format;
  for (size_t i = 1; i < words.size(); ++i) ISTHMUS_RETURN_IF_ERROR(ReadField(words[i], run));
  return CheckChange(*run, before, run->format);
}

}  // namespace

absl::StatusOr<std::vector<FormatChange>> ParseFormatSchedule(absl::string_view text,
                                                              const RunSpec& run) {
  std::vector<FormatChange> schedule;
  RunSpec now = run;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    if (number > kMostLines) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": expected at most ", kMostLines));
    }
    // The update of round 1 is the first that says anything; with overlap it says it of round 3.
    const Round least =
        schedule.empty() ? Round(run.format.overlap > 0 ? 3 : 2) : schedule.back().from.next();
    FormatChange change;
    const absl::Status read = ReadLine(line, least, &now, &change.from);
    if (!read.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": ", std::string(read.message())));
    }
    change.format = now.format;
    schedule.push_back(std::move(change));
  }
  return schedule;
}

}  // namespace isthmus
