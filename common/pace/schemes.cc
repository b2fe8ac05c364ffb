#include "common/pace/schemes.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include "common/base/status_macros.h"
#include "common/run/spec_fields.h"

namespace isthmus {
namespace {

// Of docs/schemes.md: steps to a loss of 2.4, two sites of two ranks, whose gradients are averaged
// in the site; of `random`, which does not come so far, to 2.5, and of full averaging there; of
// longer chunks as many more than of 1 of 64 as they need to 2.5.
constexpr double kFull = 147, kFullTo25 = 116;

KnownScheme FlexDemo(uint32_t chunk_size, uint32_t k, double steps) {
  RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
  run.format.chunk_size = chunk_size;
  run.format.all.k = k;
  return {absl::StrCat("flexdemo, ", k, " of ", run.format.chunk_size, ", 1bit"), run,
          steps / kFull};
}

KnownScheme Local(uint32_t every, double steps) {
  RunSpec run = DefaultRunSpec(Scheme::kLocal);
  run.format.every = {.steps = every};
  return {absl::StrCat("local, Muon, every ", every, ", 2bit"), run, steps / kFull};
}

constexpr size_t kMostLines = 32;

absl::Status ReadField(absl::string_view word, RunSpec* run) {
  const std::pair<std::string, std::string> field = absl::StrSplit(word, absl::MaxSplits('=', 1));
  const SpecField* const known = FindSpecField(field.first);
  if (known == nullptr || field.first == "scheme" || !absl::StrContains(word, '=')) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected FIELD=VALUE of a run, as in k=2, got '", word, "'"));
  }
  return known->parse(field.second, run);
}

absl::StatusOr<KnownScheme> ReadScheme(absl::string_view line) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  KnownScheme known;
  if (!absl::SimpleAtod(words[0], &known.steps) || !(known.steps >= 0.01 && known.steps <= 1000)) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected steps from 0.01 to 1000, got '", words[0], "'"));
  }
  if (words.size() < 2) return absl::InvalidArgumentError("expected a scheme behind the steps");
  ISTHMUS_ASSIGN_OR_RETURN(const Scheme scheme, ParseScheme(std::string(words[1])));
  known.name = absl::StrJoin(words.begin() + 1, words.end(), " ");
  known.run = DefaultRunSpec(scheme);
  for (size_t i = 2; i < words.size(); ++i) {
    ISTHMUS_RETURN_IF_ERROR(ReadField(words[i], &known.run));
  }
  ISTHMUS_RETURN_IF_ERROR(Validate(known.run));
  return known;
}

}  // namespace

absl::StatusOr<std::vector<KnownScheme>> ParseSchemes(absl::string_view text) {
  std::vector<KnownScheme> schemes;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    absl::StatusOr<KnownScheme> scheme = ReadScheme(line);
    if (schemes.size() == kMostLines) {
      scheme =
          absl::InvalidArgumentError(absl::StrCat("expected at most ", kMostLines, " schemes"));
    }
    if (!scheme.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": ", std::string(scheme.status().message())));
    }
    schemes.push_back(*std::move(scheme));
  }
  if (schemes.empty()) return absl::InvalidArgumentError("expected a line as '1.17 flexdemo k=2'");
  return schemes;
}

std::vector<KnownScheme> KnownSchemes() {
  return {
      {"full, AdamW, f32", DefaultRunSpec(Scheme::kFull), 1.0},
      FlexDemo(64, 4, 191),
      FlexDemo(64, 2, 172),
      FlexDemo(64, 1, 182),
      FlexDemo(128, 1, 201),
      FlexDemo(256, 1, 277),
      {"random, 8 of 64, sign", DefaultRunSpec(Scheme::kRandom), 199 / kFullTo25},
      Local(4, 85),
      Local(8, 90),
      Local(30, 113),
  };
}

}  // namespace isthmus
