#include "common/program/flags.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/host_port.h"
#include "common/base/printable.h"
#include "common/base/quantity.h"

namespace isthmus {
namespace {

std::string Expected(const std::string& what, const std::string& got) {
  return absl::StrCat("expected ", what, ", got '", Printable(got), "'");
}

bool IsWholeNumber(const std::string& text, uint64_t* value) {
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(),
                                                   [](char c) { return c >= '0' && c <= '9'; });
  // CLI11 would read a leading zero as octal.
  return digits && (text.size() == 1 || text[0] != '0') && absl::SimpleAtoi(text, value);
}

std::string CheckWholeNumber(const std::string& text, uint64_t min, uint64_t max) {
  uint64_t value = 0;
  if (IsWholeNumber(text, &value) && value >= min && value <= max) return "";
  return Expected(absl::StrCat("a whole number from ", min, " to ", max), text);
}

std::string CheckFinite(const std::string& text) {
  double value = 0;
  const bool blank = text.find_first_of(" \t\n") != std::string::npos;
  if (!blank && absl::SimpleAtod(text, &value) && std::isfinite(value)) return "";
  return Expected("a number", text);
}

template <typename Parsed>
std::string Words(const absl::StatusOr<Parsed>& parsed) {
  return parsed.ok() ? "" : std::string(parsed.status().message());
}

std::string CheckPrintable(const std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes && IsPrintable(text)) return "";
  return Expected(absl::StrCat("at most ", max_bytes, " bytes without control characters"), text);
}

std::string CheckPatience(const std::string& text) {
  absl::Duration duration;
  if (text == "off") return "";
  if (absl::ParseDuration(text, &duration) && duration > absl::ZeroDuration()) return "";
  return Expected("a duration such as 500ms, 60s or 2m, or off", text);
}

std::string CheckShare(const std::string& text) {
  double share = 0;
  if (text == "off") return "";
  if (absl::SimpleAtod(text, &share) && share >= 0.001 && share <= 0.999) return "";
  return Expected("a share from 0.001 to 0.999, or off", text);
}

std::string CheckRateLimit(const std::string& text) {
  return text == "off" ? "" : Words(ParseBitRate(text));
}

}  // namespace

FlagCheck WholeNumber(uint64_t min, uint64_t max) {
  return [=](const std::string& text) { return CheckWholeNumber(text, min, max); };
}

FlagCheck FiniteNumber() { return CheckFinite; }

FlagCheck ListenAddress() {
  return [](const std::string& text) { return Words(ParseHostPort(text)); };
}

FlagCheck DialAddress() {
  return [](const std::string& text) { return Words(ParseDialAddress(text)); };
}

FlagCheck PrintableText(size_t max_bytes) {
  return [=](const std::string& text) { return CheckPrintable(text, max_bytes); };
}

FlagCheck Patience() { return CheckPatience; }

FlagCheck RateLimit() { return CheckRateLimit; }

FlagCheck Share() { return CheckShare; }

std::optional<double> ParseShare(const std::string& text) {
  double share = 0;
  if (text == "off" || !absl::SimpleAtod(text, &share)) return std::nullopt;
  return share;
}

absl::Duration ParsePatience(const std::string& text) {
  absl::Duration duration = absl::InfiniteDuration();
  if (text != "off") (void)absl::ParseDuration(text, &duration);
  return duration;
}

uint64_t ParseRateLimit(const std::string& text) {
  return text == "off" ? 0 : static_cast<uint64_t>(ParseBitRate(text).value() / 8);
}

}  // namespace isthmus
