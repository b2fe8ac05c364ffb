#include "common/run/run_spec.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <array>

#include "common/base/status_macros.h"
#include "common/compression/dct.h"
#include "common/run/spec_fields.h"
#include "common/tensor/layout.h"

namespace isthmus {
namespace {

template <typename T>
struct Named {
  const char* name;
  T value;
};

constexpr std::array<Named<Scheme>, 7> kSchemes{{{"flexdemo", Scheme::kFlexDemo},
                                                 {"full", Scheme::kFull},
                                                 {"random", Scheme::kRandom},
                                                 {"striding", Scheme::kStriding},
                                                 {"slicing", Scheme::kSlicing},
                                                 {"none", Scheme::kNone},
                                                 {"local", Scheme::kLocal}}};
constexpr std::array<Named<SelectionKind>, 6> kSelections{{{"dense", SelectionKind::kDense},
                                                           {"dct", SelectionKind::kDct},
                                                           {"top-k", SelectionKind::kTopK},
                                                           {"random", SelectionKind::kRandom},
                                                           {"striding", SelectionKind::kStriding},
                                                           {"slicing", SelectionKind::kSlicing}}};
constexpr std::array<Named<ValueFormat>, 6> kValueFormats{{{"f32", ValueFormat::kF32},
                                                           {"bf16", ValueFormat::kBf16},
                                                           {"4bit", ValueFormat::kInt4},
                                                           {"2bit", ValueFormat::kTwoBit},
                                                           {"1bit", ValueFormat::kOneBit},
                                                           {"sign", ValueFormat::kSign}}};
constexpr std::array<Named<MergeRule>, 3> kMergeRules{{{"sender-mean", MergeRule::kSenderMean},
                                                       {"mean", MergeRule::kMean},
                                                       {"sum", MergeRule::kSum}}};
constexpr std::array<Named<OptimizerKind>, 3> kOptimizers{{{"sgd", OptimizerKind::kSgd},
                                                           {"nesterov", OptimizerKind::kNesterov},
                                                           {"adamw", OptimizerKind::kAdamW}}};

template <typename T, size_t N>
absl::StatusOr<T> Parse(const char* what, const std::array<Named<T>, N>& table,
                        const std::string& name) {
  for (const Named<T>& entry : table) {
    if (name == entry.name) return entry.value;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      what, ": expected one of ",
      absl::StrJoin(table, ", ",
                    [](std::string* out, const Named<T>& e) { absl::StrAppend(out, e.name); }),
      "; got '", name, "'"));
}

template <typename T, size_t N>
const char* NameOf(const std::array<Named<T>, N>& table, T value) {
  for (const Named<T>& entry : table) {
    if (entry.value == value) return entry.name;
  }
  return "unknown";
}

absl::Status FieldError(const std::string& field, const std::string& expected,
                        const std::string& actual) {
  return absl::InvalidArgumentError(
      absl::StrCat("run spec: ", field, ": expected ", expected, ", got ", actual));
}

std::string TextOf(const char* field, const RunSpec& spec) {
  return FindSpecField(field)->text(spec);
}

bool SendsAll(Scheme scheme) { return scheme == Scheme::kFull || scheme == Scheme::kNone; }

// What decides which values may go: the scheme, and for local ones what is selected.
std::string With(const RunSpec& spec) {
  if (spec.scheme != Scheme::kLocal) return absl::StrCat(" with scheme ", Name(spec.scheme));
  return absl::StrCat(" with scheme local and selection ", Name(spec.selection));
}

absl::Status CheckLocalFormat(const RunSpec& spec, uint32_t chunk_size, const GroupFormat& format,
                              const std::string& whose) {
  if (format.values == ValueFormat::kSign) {
    return FieldError("values" + whose, "other than sign" + With(spec), Name(format.values));
  }
  const bool part = spec.selection != SelectionKind::kDense;
  if (part && format.k == chunk_size) {
    return FieldError("k" + whose, absl::StrCat("below chunk_size ", chunk_size, With(spec)),
                      absl::StrCat(format.k));
  }
  if (!part && HasScale(format.values) && chunk_size % kScaleBlock != 0) {
    return FieldError(
        "chunk_size",
        absl::StrCat("at least ", kScaleBlock, With(spec), ": a scale serves so many"),
        absl::StrCat(chunk_size));
  }
  return absl::OkStatus();
}

// `whose`: " of group 3" where it is one group's own.
absl::Status CheckGroupFormat(const RunSpec& spec, uint32_t chunk_size, const GroupFormat& format,
                              const std::string& whose) {
  const std::string with = With(spec);
  const std::string k = "k" + whose, values = "values" + whose;
  const SelectionKind selection = SelectionOf(spec);
  if (format.k == 0 || format.k > chunk_size) {
    return FieldError(k, absl::StrCat("1 to chunk_size ", chunk_size), absl::StrCat(format.k));
  }
  if (selection == SelectionKind::kDense && format.k != chunk_size) {
    return FieldError(k, absl::StrCat("chunk_size ", chunk_size, with), absl::StrCat(format.k));
  }
  if (spec.scheme == Scheme::kLocal) {
    ISTHMUS_RETURN_IF_ERROR(CheckLocalFormat(spec, chunk_size, format, whose));
  }
  if (SendsAll(spec.scheme)) {
    if (format.values != ValueFormat::kF32 && format.values != ValueFormat::kBf16) {
      return FieldError(values, "f32 or bf16" + with, Name(format.values));
    }
  } else if (selection >= SelectionKind::kRandom && !HasPositions(chunk_size, format.k)) {
    return FieldError(k, absl::StrCat("a power of two below chunk_size ", chunk_size, with),
                      absl::StrCat(format.k));
  }
  if (format.values == ValueFormat::kSign && !spec.sign) {
    return FieldError("sign", absl::StrCat("true with ", values, " sign: magnitudes are not sent"),
                      "false");
  }
  return absl::OkStatus();
}

// A sign alone has no magnitude that could be merged with others'.
absl::Status CheckOwnFormat(const RunSpec& spec, const RoundFormat& format, GroupId group,
                            const GroupFormat& own) {
  const std::string whose = absl::StrCat(" of group ", group.value());
  ISTHMUS_RETURN_IF_ERROR(CheckGroupFormat(spec, format.chunk_size, own, whose));
  const bool sign = format.all.values == ValueFormat::kSign;
  if ((own.values == ValueFormat::kSign) != sign) {
    return FieldError("values" + whose,
                      sign ? "sign, as all groups" : "other than sign, as all groups",
                      Name(own.values));
  }
  return absl::OkStatus();
}

// What a run of local steps must be, and no other may.
absl::Status CheckLocal(const RunSpec& spec) {
  const std::string with = absl::StrCat(" with scheme ", Name(spec.scheme));
  if (spec.scheme != Scheme::kLocal) {
    const RunSpec unset;
    if (spec.selection != unset.selection) {
      return FieldError("selection", Name(unset.selection) + (with + ", which has its own"),
                        Name(spec.selection));
    }
    if (spec.outer_lr != unset.outer_lr) {
      return FieldError("outer_lr", "1" + with + ": jobs say the rate", TextOf("outer_lr", spec));
    }
    if (spec.format.every != unset.format.every) {
      return FieldError("every", "1 step" + with + ", which exchanges every step",
                        TextOf("every", spec));
    }
    return absl::OkStatus();
  }
  if (spec.sign) return FieldError("sign", "false" + with + ": how far counts", "true");
  if (spec.lr_in_momentum) return FieldError("lr_in_momentum", "false" + with, "true");
  if (spec.alpha != 1.0f) return FieldError("alpha", "1" + with, TextOf("alpha", spec));
  if (spec.merge != MergeRule::kMean) {
    return FieldError("merge", "mean" + with + ": where a group has not gone is a value too",
                      Name(spec.merge));
  }
  if (spec.optimizer.kind == OptimizerKind::kAdamW) {
    return FieldError("optimizer", "sgd or nesterov" + with + ": the job has its own",
                      Name(spec.optimizer.kind));
  }
  if (!(spec.outer_lr > 0.0f && spec.outer_lr <= 10.0f)) {
    return FieldError("outer_lr", "a number above 0, at most 10", TextOf("outer_lr", spec));
  }
  return absl::OkStatus();
}

// What goes with which scheme.
absl::Status CheckScheme(const RunSpec& spec) {
  ISTHMUS_RETURN_IF_ERROR(CheckLocal(spec));
  const std::string with = absl::StrCat(" with scheme ", Name(spec.scheme));
  if (SendsAll(spec.scheme)) {
    if (spec.lr_in_momentum) return FieldError("lr_in_momentum", "false" + with, "true");
    if (spec.alpha != 1.0f) return FieldError("alpha", "1" + with, TextOf("alpha", spec));
  }
  if (spec.scheme == Scheme::kNone && spec.audit_rounds != 0) {
    return FieldError("audit_rounds", "0: states differ" + with, absl::StrCat(spec.audit_rounds));
  }
  return absl::OkStatus();
}

struct Expectation {
  const SpecField* field = nullptr;
  std::string wanted;
  RunSpec asserted;  // in that field
};

absl::StatusOr<Expectation> ParseExpectation(const std::string& item) {
  const size_t equals = item.find('=');
  Expectation expectation{.field = FindSpecField(item.substr(0, equals))};
  if (equals == std::string::npos || expectation.field == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expectation '", item, "': expected field=value with one of ",
        absl::StrJoin(SpecFields(), ", ",
                      [](std::string* out, const auto& f) { absl::StrAppend(out, f.name); })));
  }
  // Read as the field is: 1e-8 is 1e-08.
  expectation.wanted = item.substr(equals + 1);
  const absl::Status read = expectation.field->parse(expectation.wanted, &expectation.asserted);
  if (read.ok()) return expectation;
  return absl::InvalidArgumentError(
      absl::StrCat("expectation '", item, "': ", std::string(read.message())));
}

constexpr uint32_t kMaxAuditRounds = 1'000'000;

absl::Status CheckRate(const char* field, float value) {
  if (value >= 0.0f && value < 1.0f) return absl::OkStatus();
  return FieldError(field, "a number from 0 to below 1", absl::StrCat(value));
}

}  // namespace

absl::StatusOr<Scheme> ParseScheme(const std::string& name) {
  return Parse("scheme", kSchemes, name);
}
absl::StatusOr<SelectionKind> ParseSelectionKind(const std::string& name) {
  return Parse("selection", kSelections, name);
}
absl::StatusOr<ValueFormat> ParseValueFormat(const std::string& name) {
  return Parse("values", kValueFormats, name);
}
absl::StatusOr<MergeRule> ParseMergeRule(const std::string& name) {
  return Parse("merge", kMergeRules, name);
}
absl::StatusOr<OptimizerKind> ParseOptimizerKind(const std::string& name) {
  return Parse("optimizer", kOptimizers, name);
}
const char* Name(Scheme scheme) { return NameOf(kSchemes, scheme); }
const char* Name(SelectionKind selection) { return NameOf(kSelections, selection); }
const char* Name(ValueFormat format) { return NameOf(kValueFormats, format); }
const char* Name(MergeRule rule) { return NameOf(kMergeRules, rule); }
const char* Name(OptimizerKind kind) { return NameOf(kOptimizers, kind); }

RunSpec DefaultRunSpec(Scheme scheme) {
  RunSpec spec;
  spec.scheme = scheme;
  if (scheme == Scheme::kFlexDemo) {
    spec.format.all.k = 2;
    spec.format.all.values = ValueFormat::kOneBit;
  }
  if (scheme == Scheme::kRandom || scheme == Scheme::kStriding || scheme == Scheme::kSlicing) {
    spec.format.all.k = 8;
    spec.format.all.values = ValueFormat::kSign;
    spec.merge = MergeRule::kMean;
  }
  if (scheme == Scheme::kNone) spec.audit_rounds = 0;  // replicas part by design
  if (scheme == Scheme::kLocal) {
    spec.format.chunk_size = kScaleBlock;
    spec.format.all = {.k = kScaleBlock, .values = ValueFormat::kTwoBit};
    spec.format.every = {.steps = 15};
    spec.decay = 1.0f;
    spec.sign = false;
    spec.merge = MergeRule::kMean;
    spec.audit_rounds = 1;  // rounds are far apart
  }
  if (SendsAll(scheme)) {
    spec.format.chunk_size = kMaxChunkSize;
    spec.format.all.k = kMaxChunkSize;
    spec.format.all.values = ValueFormat::kF32;
    spec.sign = false;
    spec.merge = MergeRule::kMean;
    spec.optimizer.kind = OptimizerKind::kAdamW;
  }
  return spec;
}

SelectionKind SelectionOf(const RunSpec& spec) {
  switch (spec.scheme) {
    case Scheme::kFlexDemo:
      return SelectionKind::kDct;
    case Scheme::kRandom:
      return SelectionKind::kRandom;
    case Scheme::kStriding:
      return SelectionKind::kStriding;
    case Scheme::kSlicing:
      return SelectionKind::kSlicing;
    case Scheme::kFull:
    case Scheme::kNone:
      return SelectionKind::kDense;
    case Scheme::kLocal:
      return spec.selection;
  }
  return SelectionKind::kDense;
}

absl::Status CheckOverlap(const RunSpec& spec, const RoundFormat& format) {
  uint32_t most = 1;
  std::string expected = absl::StrCat("at most 1", With(spec), ", which exchanges every step");
  if (spec.scheme == Scheme::kLocal) {
    most = format.every.steps > 0 ? format.every.steps : Period::kMostSteps;
    expected = absl::StrCat("at most ", most, ", of every");
  } else if (spec.scheme == Scheme::kNone) {
    most = 0;
    expected = absl::StrCat("0", With(spec), ", which exchanges nothing");
  }
  if (format.overlap <= most) return absl::OkStatus();
  return FieldError("overlap", expected, absl::StrCat(format.overlap));
}

absl::Status CheckFormat(const RunSpec& spec, const RoundFormat& format) {
  const Period& every = format.every;
  if ((every.steps > 0) + (every.samples > 0) + (every.millis > 0) != 1 ||
      every.steps > Period::kMostSteps || every.samples > Period::kMostSamples ||
      every.millis > Period::kMostMillis) {
    RunSpec said;
    said.format.every = every;
    return FieldError("every",
                      absl::StrCat("1 to ", Period::kMostSteps,
                                   " steps, or up to 2^53 samples, or a day of seconds"),
                      TextOf("every", said));
  }
  ISTHMUS_RETURN_IF_ERROR(CheckOverlap(spec, format));
  if (!IsChunkSize(format.chunk_size)) {
    return FieldError("chunk_size", "a power of two from 16 to 4096",
                      absl::StrCat(format.chunk_size));
  }
  ISTHMUS_RETURN_IF_ERROR(CheckGroupFormat(spec, format.chunk_size, format.all, ""));
  if (format.own.size() > kMaxGroupFormats) {
    return FieldError("group_formats", absl::StrCat("at most ", kMaxGroupFormats),
                      absl::StrCat(format.own.size()));
  }
  for (const auto& [group, own] : format.own) {
    ISTHMUS_RETURN_IF_ERROR(CheckOwnFormat(spec, format, group, own));
  }
  return absl::OkStatus();
}

absl::Status CheckChange(const RunSpec& spec, const RoundFormat& before,
                         const RoundFormat& format) {
  ISTHMUS_RETURN_IF_ERROR(CheckFormat(spec, format));
  if (SendsWholeChunks(format) != SendsWholeChunks(before)) {
    return FieldError("k",
                      SendsWholeChunks(before) ? "chunk_size for some group, as before"
                                               : "less than chunk_size, as before",
                      absl::StrCat(format.all.k));
  }
  if ((format.all.values == ValueFormat::kSign) != (before.all.values == ValueFormat::kSign)) {
    return FieldError(
        "values",
        before.all.values == ValueFormat::kSign ? "sign, as before" : "other than sign, as before",
        Name(format.all.values));
  }
  if ((format.overlap > 0) != (before.overlap > 0)) {
    return FieldError("overlap", before.overlap > 0 ? "1 or more, as before" : "0, as before",
                      absl::StrCat(format.overlap));
  }
  if (before.every.steps == 0 ? format.every != before.every : format.every.steps == 0) {
    RunSpec had, has;
    had.format = before;
    has.format = format;
    return FieldError("every",
                      before.every.steps == 0 ? TextOf("every", had) + ", as before"
                                              : std::string("steps, as before"),
                      TextOf("every", has));
  }
  return absl::OkStatus();
}

std::string DifferenceText(const RoundFormat& before, const RoundFormat& format) {
  RunSpec had, has;
  had.format = before;
  has.format = format;
  std::vector<std::string> differences;
  for (const char* const name : FormatFields()) {
    const std::string was = TextOf(name, had), is = TextOf(name, has);
    if (is != was) differences.push_back(absl::StrCat(name, " ", is, " instead of ", was));
  }
  return absl::StrJoin(differences, ", ");
}

absl::Status CheckFollows(const RunSpec& spec, const RoundFormats& known,
                          const FormatChange& change, Round after) {
  const auto error = [&](const std::string& expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("formats from round ", change.from.value(), ": expected ", expected));
  };
  if (change.from <= known.last()) {
    if (known.Knows(change.from) && known.At(change.from) == change.format) return absl::OkStatus();
    return error(absl::StrCat("those that are known, of which the last are from round ",
                              known.last().value()));
  }
  if (change.from <= after) return error(absl::StrCat("a round after ", after.value()));
  return CheckChange(spec, known.At(change.from), change.format);
}

absl::Status Validate(const RunSpec& spec) {
  if (absl::Status s = CheckFormat(spec, spec.format); !s.ok()) return s;
  if (absl::Status s = CheckScheme(spec); !s.ok()) return s;
  if (!(spec.alpha > 0.0f && spec.alpha <= 1.0f)) {
    return FieldError("alpha", "a number above 0, at most 1", TextOf("alpha", spec));
  }
  if (!(spec.decay >= 0.0f && spec.decay <= 1.0f)) {
    return FieldError("decay", "a number from 0 to 1", absl::StrCat(spec.decay));
  }
  if (absl::Status s = CheckRate("sgd_momentum", spec.optimizer.momentum); !s.ok()) return s;
  if (absl::Status s = CheckRate("adam_beta1", spec.optimizer.beta1); !s.ok()) return s;
  if (absl::Status s = CheckRate("adam_beta2", spec.optimizer.beta2); !s.ok()) return s;
  if (!(spec.optimizer.epsilon > 0.0f && spec.optimizer.epsilon < 1.0f)) {
    return FieldError("adam_epsilon", "a number above 0 and below 1",
                      absl::StrCat(spec.optimizer.epsilon));
  }
  if (spec.bucket_length % kUnitLength != 0) {
    return FieldError("bucket_length", absl::StrCat("a multiple of ", kUnitLength),
                      absl::StrCat(spec.bucket_length));
  }
  if (spec.start_groups == 0) return FieldError("start_groups", "at least 1", "0");
  if (spec.min_groups == 0 || spec.min_groups > spec.start_groups) {
    return FieldError("min_groups", absl::StrCat("1 to start_groups ", spec.start_groups),
                      absl::StrCat(spec.min_groups));
  }
  if (spec.audit_rounds > kMaxAuditRounds) {
    return FieldError("audit_rounds", absl::StrCat("at most ", kMaxAuditRounds),
                      absl::StrCat(spec.audit_rounds));
  }
  return absl::OkStatus();
}

std::vector<std::pair<std::string, std::string>> Fields(const RunSpec& spec) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const SpecField& field : SpecFields()) fields.emplace_back(field.name, field.text(spec));
  return fields;
}

absl::Status CheckExpectation(const std::string& expect) {
  return ParseExpectation(expect).status();
}

absl::Status CheckExpectations(const RunSpec& spec, const std::vector<std::string>& expect) {
  std::vector<std::string> differences;
  for (const std::string& item : expect) {
    ISTHMUS_ASSIGN_OR_RETURN(const Expectation expectation, ParseExpectation(item));
    const SpecField& field = *expectation.field;
    if (field.text(expectation.asserted) != field.text(spec)) {
      differences.push_back(absl::StrCat(field.name, ": this worker expects ", expectation.wanted,
                                         ", the run has ", field.text(spec)));
    }
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the run spec differs: ", absl::StrJoin(differences, "; ")));
}

}  // namespace isthmus
