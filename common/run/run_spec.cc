#include "common/run/run_spec.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <array>

#include "common/compression/dct.h"
#include "common/tensor/layout.h"

namespace isthmus {
namespace {

template <typename T>
struct Named {
  const char* name;
  T value;
};

constexpr std::array<Named<Scheme>, 6> kSchemes{{{"flexdemo", Scheme::kFlexDemo},
                                                 {"full", Scheme::kFull},
                                                 {"random", Scheme::kRandom},
                                                 {"striding", Scheme::kStriding},
                                                 {"slicing", Scheme::kSlicing},
                                                 {"none", Scheme::kNone}}};
constexpr std::array<Named<ValueFormat>, 5> kValueFormats{{{"f32", ValueFormat::kF32},
                                                           {"bf16", ValueFormat::kBf16},
                                                           {"4bit", ValueFormat::kInt4},
                                                           {"1bit", ValueFormat::kOneBit},
                                                           {"sign", ValueFormat::kSign}}};
constexpr std::array<Named<MergeRule>, 3> kMergeRules{{{"sender-mean", MergeRule::kSenderMean},
                                                       {"mean", MergeRule::kMean},
                                                       {"sum", MergeRule::kSum}}};
constexpr std::array<Named<OptimizerKind>, 2> kOptimizers{
    {{"sgd", OptimizerKind::kSgd}, {"adamw", OptimizerKind::kAdamW}}};

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

absl::Status FieldError(const char* field, const std::string& expected, const std::string& actual) {
  return absl::InvalidArgumentError(
      absl::StrCat("run spec: ", field, ": expected ", expected, ", got ", actual));
}

// The shortest text that reads back as the same float.
std::string Text(float value) {
  for (int digits = 6; digits < 9; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    float back = 0;
    if (absl::SimpleAtof(text, &back) && back == value) return text;
  }
  return absl::StrFormat("%.9g", value);
}

// Numbers are compared as numbers: 1e-8 is 1e-08.
bool SameValue(const std::string& a, const std::string& b) {
  float x = 0, y = 0;
  if (absl::SimpleAtof(a, &x) && absl::SimpleAtof(b, &y)) return x == y;
  return a == b;
}

bool SendsAll(Scheme scheme) { return scheme == Scheme::kFull || scheme == Scheme::kNone; }

// What goes with which scheme.
absl::Status CheckScheme(const RunSpec& spec) {
  const std::string with = absl::StrCat(" with scheme ", Name(spec.scheme));
  if (SendsAll(spec.scheme)) {
    if (spec.k != spec.chunk_size) {
      return FieldError("k", absl::StrCat("chunk_size ", spec.chunk_size, with),
                        absl::StrCat(spec.k));
    }
    if (spec.lr_in_momentum) return FieldError("lr_in_momentum", "false" + with, "true");
    if (spec.alpha != 1.0f) return FieldError("alpha", "1" + with, Text(spec.alpha));
    if (spec.values != ValueFormat::kF32 && spec.values != ValueFormat::kBf16) {
      return FieldError("values", "f32 or bf16" + with, Name(spec.values));
    }
  } else if (spec.scheme != Scheme::kFlexDemo && !HasPositions(spec.chunk_size, spec.k)) {
    return FieldError("k", absl::StrCat("a power of two below chunk_size ", spec.chunk_size, with),
                      absl::StrCat(spec.k));
  }
  if (spec.scheme == Scheme::kNone && spec.audit_rounds != 0) {
    return FieldError("audit_rounds", "0: states differ" + with, absl::StrCat(spec.audit_rounds));
  }
  if (spec.values == ValueFormat::kSign && !spec.sign) {
    return FieldError("sign", "true with values sign: magnitudes are not sent", "false");
  }
  return absl::OkStatus();
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
const char* Name(ValueFormat format) { return NameOf(kValueFormats, format); }
const char* Name(MergeRule rule) { return NameOf(kMergeRules, rule); }
const char* Name(OptimizerKind kind) { return NameOf(kOptimizers, kind); }

RunSpec DefaultRunSpec(Scheme scheme) {
  RunSpec spec;
  spec.scheme = scheme;
  if (scheme == Scheme::kFlexDemo) {
    spec.k = 2;
    spec.values = ValueFormat::kOneBit;
  }
  if (scheme == Scheme::kRandom || scheme == Scheme::kStriding || scheme == Scheme::kSlicing) {
    spec.k = 8;
    spec.values = ValueFormat::kSign;
    spec.merge = MergeRule::kMean;
  }
  if (scheme == Scheme::kNone) spec.audit_rounds = 0;  // replicas part by design
  if (SendsAll(scheme)) {
    spec.chunk_size = kMaxChunkSize;
    spec.k = kMaxChunkSize;
    spec.values = ValueFormat::kF32;
    spec.sign = false;
    spec.merge = MergeRule::kMean;
    spec.optimizer.kind = OptimizerKind::kAdamW;
  }
  return spec;
}

absl::Status Validate(const RunSpec& spec) {
  if (!IsChunkSize(spec.chunk_size)) {
    return FieldError("chunk_size", "a power of two from 16 to 4096",
                      absl::StrCat(spec.chunk_size));
  }
  if (spec.k == 0 || spec.k > spec.chunk_size) {
    return FieldError("k", absl::StrCat("1 to chunk_size ", spec.chunk_size), absl::StrCat(spec.k));
  }
  if (absl::Status s = CheckScheme(spec); !s.ok()) return s;
  if (!(spec.alpha > 0.0f && spec.alpha <= 1.0f)) {
    return FieldError("alpha", "a number above 0, at most 1", Text(spec.alpha));
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

PayloadFormat ContributionFormat(const RunSpec& spec) {
  const auto positions = [&] {
    switch (spec.scheme) {
      case Scheme::kRandom:
        return Positions::kRandom;
      case Scheme::kStriding:
        return Positions::kStriding;
      case Scheme::kSlicing:
        return Positions::kSlicing;
      default:
        return Positions::kChosen;
    }
  };
  return {.transform = spec.scheme == Scheme::kFlexDemo ? Transform::kDct : Transform::kNone,
          .chunk_size = spec.chunk_size,
          .k = spec.k,
          .values = spec.values,
          .positions = positions(),
          .seed = spec.seed};
}

UpdateFormat MergedFormat(const RunSpec& spec) {
  return {.contribution = ContributionFormat(spec), .merge = spec.merge, .sign = spec.sign};
}

std::vector<std::pair<std::string, std::string>> Fields(const RunSpec& spec) {
  const auto boolean = [](bool b) { return std::string(b ? "true" : "false"); };
  return {
      {"scheme", Name(spec.scheme)},
      {"chunk_size", absl::StrCat(spec.chunk_size)},
      {"k", absl::StrCat(spec.k)},
      {"decay", Text(spec.decay)},
      {"alpha", Text(spec.alpha)},
      {"lr_in_momentum", boolean(spec.lr_in_momentum)},
      {"values", Name(spec.values)},
      {"sign", boolean(spec.sign)},
      {"merge", Name(spec.merge)},
      {"optimizer", Name(spec.optimizer.kind)},
      {"sgd_momentum", Text(spec.optimizer.momentum)},
      {"adam_beta1", Text(spec.optimizer.beta1)},
      {"adam_beta2", Text(spec.optimizer.beta2)},
      {"adam_epsilon", Text(spec.optimizer.epsilon)},
      {"bucket_length", absl::StrCat(spec.bucket_length)},
      {"rounds", absl::StrCat(spec.rounds)},
      {"start_groups", absl::StrCat(spec.start_groups)},
      {"min_groups", absl::StrCat(spec.min_groups)},
      {"seed", absl::StrCat(spec.seed)},
      {"initial_donor", spec.initial_donor ? absl::StrCat(spec.initial_donor->value()) : "lowest"},
      {"audit_rounds", absl::StrCat(spec.audit_rounds)}};
}

absl::Status CheckExpectations(const RunSpec& spec, const std::vector<std::string>& expect) {
  const auto fields = Fields(spec);
  std::vector<std::string> differences;
  for (const std::string& item : expect) {
    const size_t equals = item.find('=');
    const std::string name = item.substr(0, equals);
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.first == name; });
    if (equals == std::string::npos || field == fields.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "expectation '", item, "': expected field=value with one of ",
          absl::StrJoin(fields, ", ",
                        [](std::string* out, const auto& f) { absl::StrAppend(out, f.first); })));
    }
    const std::string wanted = item.substr(equals + 1);
    if (!SameValue(field->second, wanted)) {
      differences.push_back(
          absl::StrCat(name, ": this worker expects ", wanted, ", the run has ", field->second));
    }
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the run spec differs: ", absl::StrJoin(differences, "; ")));
}

}  // namespace isthmus
