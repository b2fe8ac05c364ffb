#include "common/base/quantity.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include "common/base/printable.h"

namespace isthmus {
namespace {

constexpr Unit kBitRates[] = {{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}};

}  // namespace

std::optional<double> ParseQuantity(absl::string_view text, std::span<const Unit> units) {
  size_t digits = 0;
  while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) {
    ++digits;
  }
  double number = 0;
  if (!absl::SimpleAtod(text.substr(0, digits), &number)) return std::nullopt;
  for (const Unit& unit : units) {
    if (text.substr(digits) == unit.name) return number * unit.factor;
  }
  return std::nullopt;
}

std::string FormatQuantity(double value, std::span<const Unit> units) {
  auto unit = units.begin();
  // The nudge keeps 40 ms, which is not exact in binary, from reading as 40000 us.
  while (unit + 1 != units.end() && value / unit->factor < 1 - 1e-9) ++unit;
  return absl::StrCat(value / unit->factor, unit->name);
}

absl::StatusOr<double> ParseBitRate(absl::string_view text) {
  const std::optional<double> rate = ParseQuantity(text, kBitRates);
  if (!rate || *rate < 1e3 || *rate > 1e11) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a rate from 1kbit to 100gbit, such as 10mbit, got '",
                     Printable(std::string(text)), "'"));
  }
  return *rate;
}

std::string FormatBitRate(double bits_per_second) {
  return FormatQuantity(bits_per_second, kBitRates);
}

}  // namespace isthmus
