#include "common/run/spec_fields.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include <array>
#include <cmath>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"

namespace isthmus {
namespace {

absl::Status Expected(const char* field, const std::string& expected, const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": expected ", expected, ", got '", text, "'"));
}

// --- values as text ------------------------------------------------------------------------------

std::string Text(float value) {
  for (int digits = 6; digits < 9; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    float back = 0;
    if (absl::SimpleAtof(text, &back) && back == value) return text;
  }
  return absl::StrFormat("%.9g", value);
}
std::string Text(bool value) { return value ? "true" : "false"; }
std::string Text(uint32_t value) { return absl::StrCat(value); }
std::string Text(uint64_t value) { return absl::StrCat(value); }
template <typename Enum, typename = std::enable_if_t<std::is_enum_v<Enum>>>
std::string Text(Enum value) {
  return Name(value);
}
std::string Text(const std::optional<GroupId>& donor) {
  return donor ? absl::StrCat(donor->value()) : "lowest";
}
std::string Text(const Period& period) {
  if (period.samples > 0) return absl::StrCat(period.samples, " samples");
  if (period.millis > 0) return absl::StrCat(static_cast<double>(period.millis) / 1e3, " s");
  return absl::StrCat(period.steps, period.steps == 1 ? " step" : " steps");
}
// "3=1/1bit,5=2/4bit": group 3 keeps 1 coefficient of a chunk, as one bit.
std::string Text(const std::map<GroupId, GroupFormat>& own) {
  return absl::StrJoin(own, ",", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.first.value(), "=", entry.second.k, "/", Name(entry.second.values));
  });
}

absl::Status Parse(const char* field, const std::string& text, float* to) {
  if (absl::SimpleAtof(text, to) && std::isfinite(*to)) return absl::OkStatus();
  return Expected(field, "a number", text);
}
absl::Status Parse(const char* field, const std::string& text, bool* to) {
  if (absl::SimpleAtob(text, to)) return absl::OkStatus();
  return Expected(field, "true or false", text);
}
template <
    typename Unsigned,
    typename = std::enable_if_t<std::is_unsigned_v<Unsigned> && !std::is_same_v<Unsigned, bool>>,
    typename = void>
absl::Status Parse(const char* field, const std::string& text, Unsigned* to) {
  if (absl::SimpleAtoi(text, to)) return absl::OkStatus();
  return Expected(field, absl::StrCat("a whole number from 0 to below 2^", 8 * sizeof(Unsigned)),
                  text);
}
template <typename Enum>
absl::Status Take(absl::StatusOr<Enum> parsed, Enum* to) {
  ISTHMUS_RETURN_IF_ERROR(parsed.status());
  *to = *parsed;
  return absl::OkStatus();
}
absl::Status Parse(const char*, const std::string& text, Scheme* to) {
  return Take(ParseScheme(text), to);
}
absl::Status Parse(const char*, const std::string& text, SelectionKind* to) {
  return Take(ParseSelectionKind(text), to);
}
// 4096, 64k or 4M.
bool ParseCount(absl::string_view text, uint64_t* to) {
  const uint64_t unit = absl::ConsumeSuffix(&text, "k")   ? 1'000
                        : absl::ConsumeSuffix(&text, "M") ? 1'000'000
                                                          : 1;
  if (!absl::SimpleAtoi(text, to) || *to > Period::kMostSamples / unit) return false;
  *to *= unit;
  return *to > 0;
}
absl::Status Parse(const char* field, const std::string& text, Period* to) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  const std::string unit = words.size() == 2 ? words[1] : words.size() == 1 ? "steps" : "";
  *to = Period{.steps = 0};
  if ((unit == "steps" || unit == "step") && absl::SimpleAtoi(words[0], &to->steps)) {
    return absl::OkStatus();
  }
  if (unit == "samples" && ParseCount(words[0], &to->samples)) return absl::OkStatus();
  double seconds = 0;
  if (unit == "s" && absl::SimpleAtod(words[0], &seconds) && seconds >= 0.001 && seconds < 1e6) {
    to->millis = static_cast<uint64_t>(std::llround(seconds * 1e3));
    return absl::OkStatus();
  }
  return Expected(field, "steps, samples or seconds, as in '30 steps', '4M samples' or '20 s'",
                  text);
}
absl::Status Parse(const char*, const std::string& text, ValueFormat* to) {
  return Take(ParseValueFormat(text), to);
}
absl::Status Parse(const char*, const std::string& text, MergeRule* to) {
  return Take(ParseMergeRule(text), to);
}
absl::Status Parse(const char*, const std::string& text, OptimizerKind* to) {
  return Take(ParseOptimizerKind(text), to);
}
absl::Status Parse(const char* field, const std::string& text, std::optional<GroupId>* to) {
  uint32_t group = 0;
  to->reset();
  if (text == "lowest") return absl::OkStatus();
  if (!absl::SimpleAtoi(text, &group)) return Expected(field, "a group's id, or lowest", text);
  *to = GroupId(group);
  return absl::OkStatus();
}
absl::Status Parse(const char* field, const std::string& text, std::map<GroupId, GroupFormat>* to) {
  to->clear();
  const std::vector<std::string> entries = absl::StrSplit(text, ',', absl::SkipEmpty());
  for (const std::string& entry : entries) {
    const std::vector<std::string> parts = absl::StrSplit(entry, absl::ByAnyChar("=/"));
    uint32_t group = 0;
    GroupFormat format;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &group) ||
        !absl::SimpleAtoi(parts[1], &format.k)) {
      return Expected(field, "GROUP=K/VALUES, as in 3=1/1bit", entry);
    }
    ISTHMUS_RETURN_IF_ERROR(Parse(field, parts[2], &format.values));
    if (!to->emplace(GroupId(group), format).second) {
      return Expected(field, absl::StrCat("group ", group, " once"), text);
    }
  }
  return absl::OkStatus();
}

// --- the table -----------------------------------------------------------------------------------

// `member(spec)` is where the value stands; a bool has an opposite.
template <typename Opposite, typename Member>
SpecField Field(const char* name, const char* help, Opposite opposite, Member member) {
  using Value = std::remove_reference_t<decltype(member(std::declval<RunSpec&>()))>;
  static_assert(std::is_same_v<Value, bool> == std::is_same_v<Opposite, const char*>);
  return {name, help, opposite,
          [member](const RunSpec& spec) { return Text(member(const_cast<RunSpec&>(spec))); },
          [name, member](const std::string& text, RunSpec* spec) {
            return Parse(name, text, &member(*spec));
          }};
}

#define ISTHMUS_FIELD(name, help, where) ISTHMUS_SWITCH(name, help, nullptr, where)
#define ISTHMUS_SWITCH(name, help, opposite, where) \
  Field(                                            \
      name, help, opposite, [](RunSpec & spec) -> auto& { return spec.where; })

const std::vector<SpecField>& Table() {
  static const auto* const table = new std::vector<SpecField>{
      ISTHMUS_FIELD("scheme",
                    "flexdemo (compressed momentum), random, striding or slicing (parts of the "
                    "momentum, without indices), full (gradients), none (groups train apart) or "
                    "local (jobs step by themselves and exchange how far they have gone)",
                    scheme),
      ISTHMUS_FIELD("every",
                    "Of scheme local: from one exchange to the next, a job's steps ('30 steps'), "
                    "samples of all groups together ('4M samples') or time ('20 s')",
                    format.every),
      ISTHMUS_FIELD(
          "overlap",
          "A job's steps after an exchange begins until it is applied: of scheme local up "
          "to --every, else 1; 0: it waits",
          format.overlap),
      ISTHMUS_FIELD("selection",
                    "Of scheme local: dense (all, in few bits), dct or top-k (the largest of each "
                    "chunk), random, striding or slicing (elements that all groups know)",
                    selection),
      ISTHMUS_FIELD("chunk_size", "Elements of one DCT block, 16 to 4096", format.chunk_size),
      ISTHMUS_FIELD("k", "Coefficients kept per chunk", format.all.k),
      ISTHMUS_FIELD("decay", "Momentum decay per step", decay),
      ISTHMUS_FIELD("alpha", "The share of what is sent that leaves the momentum, up to 1", alpha),
      ISTHMUS_SWITCH("lr_in_momentum",
                     "Multiply gradients by the learning rate on their way into the momentum",
                     "Take gradients into the momentum as they are", lr_in_momentum),
      ISTHMUS_FIELD("values", "Values on the wire: f32, bf16, 4bit, 2bit, 1bit or sign",
                    format.all.values),
      ISTHMUS_SWITCH("sign", "Step by the sign of the merged direction",
                     "Step by the merged direction itself", sign),
      ISTHMUS_FIELD("merge", "sender-mean, mean or sum", merge),
      ISTHMUS_FIELD("optimizer", "sgd, nesterov or adamw", optimizer.kind),
      ISTHMUS_FIELD("sgd_momentum", "Momentum of sgd and nesterov", optimizer.momentum),
      ISTHMUS_FIELD("outer_lr", "Of scheme local: the rate at which the merged progress is applied",
                    outer_lr),
      ISTHMUS_FIELD("adam_beta1", "Of adamw: decay of its first moment", optimizer.beta1),
      ISTHMUS_FIELD("adam_beta2", "Of adamw: decay of its second moment", optimizer.beta2),
      ISTHMUS_FIELD("adam_epsilon", "Of adamw: added to the root", optimizer.epsilon),
      ISTHMUS_FIELD("bucket_length", "Elements of a bucket; 0: an eighth of all", bucket_length),
      ISTHMUS_FIELD("rounds", "The run ends with this round; 0: no end", rounds),
      ISTHMUS_FIELD("start_groups", "Groups that must be ready before round 1", start_groups),
      ISTHMUS_FIELD("min_groups", "Answers needed to commit", min_groups),
      ISTHMUS_FIELD("seed", "Of the positions of scheme random", seed),
      ISTHMUS_FIELD("initial_donor", "Group whose parameters all start from, or lowest",
                    initial_donor),
      ISTHMUS_FIELD("audit_rounds",
                    "Rounds from one comparison of all groups' states to the next; 0: none",
                    audit_rounds),
      ISTHMUS_FIELD("group_formats",
                    "Groups that keep other than k coefficients, or other values: GROUP=K/VALUES, "
                    "as in 3=1/1bit,5=2/4bit",
                    format.own),
  };
  return *table;
}

#undef ISTHMUS_SWITCH
#undef ISTHMUS_FIELD

}  // namespace

std::span<const SpecField> SpecFields() { return Table(); }

std::span<const char* const> FormatFields() {
  static constexpr const char* kNames[] = {"chunk_size",    "k",     "values",
                                           "group_formats", "every", "overlap"};
  return kNames;
}

const SpecField* FindSpecField(const std::string& name) {
  for (const SpecField& field : SpecFields()) {
    if (name == field.name) return &field;
  }
  return nullptr;
}

}  // namespace isthmus
