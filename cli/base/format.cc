#include "cli/base/format.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <cmath>

namespace isthmus {

std::string FormatBytes(double bytes) {
  if (bytes < 999.5) return absl::StrFormat("%.0f B", bytes);
  for (const char* unit : {"kB", "MB", "GB"}) {
    bytes /= 1000;
    if (bytes < 999.95) return absl::StrFormat("%.1f %s", bytes, unit);
  }
  return absl::StrFormat("%.1f TB", bytes / 1000);
}

std::string FormatRate(double bytes_per_second) {
  if (bytes_per_second <= 0) return "-";
  double bits = bytes_per_second * 8 / 1000;
  for (const char* unit : {"kbit/s", "Mbit/s"}) {
    if (bits < 99.95) return absl::StrFormat("%.1f %s", bits, unit);
    if (bits < 999.5) return absl::StrFormat("%.0f %s", bits, unit);
    bits /= 1000;
  }
  return absl::StrFormat("%.1f Gbit/s", bits);
}

std::string FormatSeconds(double seconds) {
  if (seconds <= 0) return "-";
  if (seconds < 0.9995e-3) return absl::StrFormat("%.0f us", seconds * 1e6);
  if (seconds < 0.99995) return absl::StrFormat("%.1f ms", seconds * 1e3);
  return absl::StrFormat("%.2f s", seconds);
}

std::string FormatElapsed(absl::Duration elapsed) {
  if (elapsed == absl::InfiniteDuration()) return "-";
  const int64_t seconds = absl::ToInt64Seconds(elapsed);
  const int64_t minutes = seconds / 60;
  if (minutes < 60) return absl::StrFormat("%d:%02d", minutes, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", minutes / 60, minutes % 60, seconds % 60);
}

std::string FormatLoss(double loss) {
  return std::isnan(loss) ? "not reported" : absl::StrFormat("%.4f", loss);
}

std::string FormatPercent(double fraction) { return absl::StrFormat("%.1f %%", 100 * fraction); }

std::string FormatColumns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      absl::StrAppend(&text, row[i], last ? "" : std::string(widths[i] - row[i].size() + 2, ' '));
    }
    text += '\n';
  }
  return text;
}

}  // namespace isthmus
