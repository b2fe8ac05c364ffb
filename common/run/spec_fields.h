// The table of a run spec's fields: flags, messages, expectations, printing and docs come from it,
// so that a field is added here, to RunSpec, and to the proto, and nowhere else.
#ifndef ISTHMUS_COMMON_RUN_SPEC_FIELDS_H_
#define ISTHMUS_COMMON_RUN_SPEC_FIELDS_H_

#include <absl/status/status.h>

#include <functional>
#include <span>
#include <string>

#include "common/run/run_spec.h"

namespace isthmus {

struct SpecField {
  const char* name;  // of v1.RunSpec, and of expectations; a flag's with dashes
  const char* help;
  // Of what is true or false, which as a flag is --name or --no-name: the help of the latter. Null
  // for what has a value.
  const char* opposite;
  // The value in words that Parse() takes; floats as the shortest text that reads back the same.
  std::function<std::string(const RunSpec&)> text;
  // Errors: INVALID_ARGUMENT naming the field, what was expected, and `text`.
  std::function<absl::Status(const std::string& text, RunSpec* spec)> parse;
};

// In a fixed order, the scheme first: what others are by default follows from it.
std::span<const SpecField> SpecFields();

// The names of those that are of a round's format (round_format.h), and so may change.
std::span<const char* const> FormatFields();

// Null if there is none of that name.
const SpecField* FindSpecField(const std::string& name);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_SPEC_FIELDS_H_
