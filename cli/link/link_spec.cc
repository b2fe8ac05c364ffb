#include "cli/link/link_spec.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <cmath>
#include <optional>
#include <vector>

#include "common/base/quantity.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr Unit kDelays[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}};

}  // namespace

bool LinkSpec::shaped() const { return *this != LinkSpec{}; }

std::string LinkSpec::ToString() const {
  if (!shaped()) return "none";
  std::string text = FormatBitRate(up_bits_per_second);
  if (down_bits_per_second != up_bits_per_second) {
    absl::StrAppend(&text, ":", FormatBitRate(down_bits_per_second));
  }
  if (delay != absl::ZeroDuration()) {
    absl::StrAppend(&text, "/", FormatQuantity(absl::ToDoubleSeconds(delay), kDelays));
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
  ISTHMUS_ASSIGN_OR_RETURN(spec.up_bits_per_second, ParseBitRate(rates.front()));
  ISTHMUS_ASSIGN_OR_RETURN(spec.down_bits_per_second, ParseBitRate(rates.back()));
  if (parts.size() == 2) {
    const std::optional<double> seconds = ParseQuantity(parts[1], kDelays);
    if (!seconds || *seconds > 10) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected a delay from 0ms to 10s, such as 40ms, got '", parts[1], "'"));
    }
    spec.delay = absl::Microseconds(std::llround(*seconds * 1e6));
  }
  return spec;
}

}  // namespace isthmus
