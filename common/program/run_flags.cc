#include "common/program/run_flags.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <iterator>

#include "common/base/status_macros.h"
#include "common/program/flags.h"
#include "common/run/spec_fields.h"
#include "common/tensor/layout.h"

namespace isthmus {
namespace {

// So many that a run never gets there, and so few that sums of them do not overflow.
constexpr uint64_t kMaxRounds = 1'000'000'000'000;
constexpr uint64_t kMaxAuditRounds = 1'000'000;
constexpr uint64_t kMinChunk = 16, kMaxChunk = 4096;

// Whole numbers that a flag takes: fewer than the field's type holds.
struct Range {
  std::string_view field;
  uint64_t min, max;
};
constexpr Range kRanges[] = {
    {"chunk_size", kMinChunk, kMaxChunk},
    {"k", 1, kMaxChunk},
    {"bucket_length", 0, kMaxFlatLength},
    {"rounds", 0, kMaxRounds},
    {"start_groups", 1, kMaxGroups},
    {"min_groups", 1, kMaxGroups},
    {"seed", 0, kMaxUint64},
    {"audit_rounds", 0, kMaxAuditRounds},
};

// Without the dashes before it.
std::string FlagOf(const SpecField& field) { return absl::StrReplaceAll(field.name, {{"_", "-"}}); }

// What the field itself reads: "--decay: expected a number, got 'x'".
FlagCheck Readable(const SpecField& field) {
  return [&field](const std::string& text) {
    RunSpec spec;
    const std::string error(field.parse(text, &spec).message());
    const std::string name = absl::StrCat(field.name, ": ");
    return error.rfind(name, 0) == 0 ? error.substr(name.size()) : error;
  };
}

void AddSwitch(CLI::App* app, const SpecField& field, bool on, GivenFields* given) {
  const std::string name = FlagOf(field);
  const auto add = [&](const char* prefix, const char* text, const char* help, bool is_default) {
    return app->add_flag_callback(
        absl::StrCat(prefix, name), [=, &field] { (*given)[field.name] = text; },
        absl::StrCat(help, is_default ? " (default)" : ""));
  };
  CLI::Option* const yes = add("--", "true", field.help, on);
  CLI::Option* const no = add("--no-", "false", field.opposite, !on);
  if (app->option_defaults()->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeLast) {
    yes->trigger_on_parse();
    no->trigger_on_parse();
  } else {
    no->excludes(yes);
  }
}

void AddValue(CLI::App* app, const SpecField& field, const std::string& default_text,
              GivenFields* given) {
  // The chunk size has the short name that everybody says, too.
  const bool chunk = field.name == std::string_view("chunk_size");
  CLI::Option* const option = app->add_option_function<std::string>(
      absl::StrCat(chunk ? "--chunk," : "", "--", FlagOf(field)),
      [=, &field](const std::string& text) { (*given)[field.name] = text; }, field.help);
  option->default_str(default_text);
  const Range* const range =
      std::ranges::find(kRanges, std::string_view(field.name), &Range::field);
  if (range != std::end(kRanges)) option->check(WholeNumber(range->min, range->max));
  option->check(Readable(field));
}

}  // namespace

void AddRunFlags(CLI::App* app, GivenFields* given, std::span<const std::string_view> except) {
  const RunSpec defaults = DefaultRunSpec(Scheme::kFlexDemo);
  for (const SpecField& field : SpecFields()) {
    if (std::ranges::find(except, std::string_view(field.name)) != except.end()) continue;
    const std::string text = field.text(defaults);
    if (field.opposite != nullptr) {
      AddSwitch(app, field, text == "true", given);
    } else {
      AddValue(app, field, text, given);
    }
  }
}

absl::StatusOr<RunSpec> RunSpecOf(const GivenFields& given) {
  RunSpec spec;
  if (const auto scheme = given.find("scheme"); scheme != given.end()) {
    ISTHMUS_RETURN_IF_ERROR(FindSpecField("scheme")->parse(scheme->second, &spec));
  }
  spec = DefaultRunSpec(spec.scheme);
  for (const auto& [name, text] : given) {
    ISTHMUS_RETURN_IF_ERROR(FindSpecField(name)->parse(text, &spec));
  }
  // What sends whole chunks does so of any size.
  const bool whole = SelectionOf(spec) == SelectionKind::kDense;
  if (whole && !given.contains("k")) spec.format.all.k = spec.format.chunk_size;
  ISTHMUS_RETURN_IF_ERROR(Validate(spec));
  return spec;
}

std::vector<std::string> RunFlags(const RunSpec& spec) {
  std::vector<std::string> flags = {"--scheme", Name(spec.scheme)};
  const RunSpec defaults = DefaultRunSpec(spec.scheme);
  for (const SpecField& field : SpecFields()) {
    const std::string text = field.text(spec);
    if (text == field.text(defaults)) continue;
    if (field.opposite != nullptr) {
      flags.push_back(absl::StrCat(text == "true" ? "--" : "--no-", FlagOf(field)));
    } else {
      flags.insert(flags.end(), {absl::StrCat("--", FlagOf(field)), text});
    }
  }
  return flags;
}

}  // namespace isthmus
