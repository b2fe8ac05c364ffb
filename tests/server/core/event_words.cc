#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include "tests/server/core/scenario.h"

namespace isthmus {

EventWords::EventWords(const std::string& line) {
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  if (words.empty()) {
    Fail("no event");
    return;
  }
  name_ = words[0];
  for (size_t i = 1; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    if (equals == std::string::npos) {
      positional_.push_back(words[i]);
    } else {
      named_[words[i].substr(0, equals)] = words[i].substr(equals + 1);
    }
  }
}

void EventWords::Fail(const std::string& text) {
  if (error_.empty()) error_ = text;
}

uint64_t EventWords::Number(size_t index) {
  uint64_t value = 0;
  if (index >= positional_.size() || !absl::SimpleAtoi(positional_[index], &value)) {
    Fail(absl::StrCat("word ", index + 1, " after ", name_, ": expected a number"));
  }
  return value;
}

std::string EventWords::Rest(size_t index) const {
  if (index >= positional_.size()) return "";
  return absl::StrJoin(positional_.begin() + static_cast<std::ptrdiff_t>(index), positional_.end(),
                       " ");
}

std::string EventWords::Take(const std::string& key, const std::string& otherwise) {
  const auto node = named_.extract(key);
  return node.empty() ? otherwise : node.mapped();
}

uint64_t EventWords::TakeNumber(const std::string& key, uint64_t otherwise) {
  const std::string text = Take(key, absl::StrCat(otherwise));
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) Fail(absl::StrCat(key, ": expected a number"));
  return value;
}

float EventWords::TakeFloat(const std::string& key, float otherwise) {
  const std::string text = Take(key, "");
  float value = otherwise;
  if (!text.empty() && !absl::SimpleAtof(text, &value)) {
    Fail(absl::StrCat(key, ": expected a number"));
  }
  return value;
}

absl::Duration EventWords::TakeDuration(const std::string& key, absl::Duration otherwise) {
  const std::string text = Take(key, "");
  absl::Duration value = otherwise;
  if (!text.empty() && !absl::ParseDuration(text, &value)) {
    Fail(absl::StrCat(key, ": expected a duration such as 5s or inf"));
  }
  return value;
}

absl::Status EventWords::Check() const {
  if (!error_.empty()) return absl::InvalidArgumentError(error_);
  if (named_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name_, " knows no ", named_.begin()->first, "="));
}

}  // namespace isthmus
