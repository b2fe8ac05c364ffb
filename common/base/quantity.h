// Quantities as people write them: a number and a unit without a blank, 10mbit or 40ms.
#ifndef ISTHMUS_COMMON_BASE_QUANTITY_H_
#define ISTHMUS_COMMON_BASE_QUANTITY_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <optional>
#include <span>
#include <string>

namespace isthmus {

struct Unit {
  const char* name;
  double factor;
};

// "1.5mbit" -> 1.5e6; nullopt if the number or the unit is not one.
std::optional<double> ParseQuantity(absl::string_view text, std::span<const Unit> units);
// In the largest of `units`, which are in falling order, of which there is a whole one.
std::string FormatQuantity(double value, std::span<const Unit> units);

// Bits per second, in decimal multiples. INVALID_ARGUMENT, saying what was expected, unless a
// number with bit, kbit, mbit or gbit from 1 kbit/s to 100 Gbit/s.
absl::StatusOr<double> ParseBitRate(absl::string_view text);
// As ParseBitRate() reads it.
std::string FormatBitRate(double bits_per_second);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_QUANTITY_H_
