#include "cli/link/link_spec.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <cmath>
#include <iterator>
#include <optional>
#include <vector>

#include "common/base/status_macros.h"

namespace isthmus {
namespace {

struct Unit {
  const char* name;
  double factor;
};

// Largest first, for ToString().
constexpr Unit kRateUnits[] = {{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}};
constexpr Unit kDelayUnits[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}};

// "1.5mbit" -> 1.5e6; nullopt if the number or the unit is not one.
std::optional<double> ParseQuantity(absl::string_view text, const Unit* begin, const Unit* end) {
  size_t digits = 0;
  while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) {
    ++digits;
  }
  double number = 0;
  if (!absl::SimpleAtod(text.substr(0, digits), &number)) return std::nullopt;
  for (const Unit* unit = begin; unit != end; ++unit) {
    if (text.substr(digits) == unit->name) return number * unit->factor;
  }
  return std::nullopt;
}

std::string FormatQuantity(double value, const Unit* begin, const Unit* end) {
  const Unit* unit = begin;
  // The nudge keeps 40 ms, which is not exact in binary, from reading as 40000 us.
  while (unit + 1 != end && value / unit->factor < 1 - 1e-9) ++unit;
  return absl::StrCat(value / unit->factor, unit->name);
}

std::string FormatRate(double bits_per_second) {
  return FormatQuantity(bits_per_second, std::begin(kRateUnits), std::end(kRateUnits));
}

absl::StatusOr<double> ParseRate(absl::string_view text) {
  const std::optional<double> rate =
      ParseQuantity(text, std::begin(kRateUnits), std::end(kRateUnits));
  if (!rate || *rate < 1e3 || *rate > 1e11) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a rate from 1kbit to 100gbit, such as 10mbit, got '", text, "'"));
  }
  return *rate;
}

}  // namespace

bool LinkSpec::shaped() const { return *this != LinkSpec{}; }

std::string LinkSpec::ToString() const {
  if (!shaped()) return "none";
  std::string text = FormatRate(up_bits_per_second);
  if (down_bits_per_second != up_bits_per_second) {
    absl::StrAppend(&text, ":", FormatRate(down_bits_per_second));
  }
  if (delay != absl::ZeroDuration()) {
    absl::StrAppend(&text, "/",
                    FormatQuantity(absl::ToDoubleSeconds(delay), std::begin(kDelayUnits),
                                   std::end(kDelayUnits)));
  }
  return text;
}

absl::StatusOr<LinkSpec> ParseLinkSpec(absl::string_view text) {
  LinkSpec spec;
  if (text == "none") return spec;
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '/');
  const std::vector<absl::string_view> rates = absl::StrSplit(parts[0], ':');
  if (parts.size() > 2 || rates.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected none, RATE, RATE/DELAY or UP:DOWN/DELAY, such as 10mbit/40ms, got '", text, "'"));
  }
  ISTHMUS_ASSIGN_OR_RETURN(spec.up_bits_per_second, ParseRate(rates.front()));
  ISTHMUS_ASSIGN_OR_RETURN(spec.down_bits_per_second, ParseRate(rates.back()));
  if (parts.size() == 2) {
    const std::optional<double> seconds =
        ParseQuantity(parts[1], std::begin(kDelayUnits), std::end(kDelayUnits));
    if (!seconds || *seconds > 10) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected a delay from 0ms to 10s, such as 40ms, got '", parts[1], "'"));
    }
    spec.delay = absl::Microseconds(std::llround(*seconds * 1e6));
  }
  return spec;
}

}  // namespace isthmus
