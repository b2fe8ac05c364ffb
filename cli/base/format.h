// Numbers as people read them.
#ifndef ISTHMUS_CLI_BASE_FORMAT_H_
#define ISTHMUS_CLI_BASE_FORMAT_H_

#include <absl/time/time.h>

#include <string>
#include <vector>

namespace isthmus {

// "812 B", "4.2 kB", "17.3 MB": decimal, as links are measured.
std::string FormatBytes(double bytes);
// "812 us", "43.2 ms", "1.70 s"; "-" for 0, which stands for "not measured".
std::string FormatSeconds(double seconds);
// "9.8 Mbit/s", "640 kbit/s", from bytes a second; "-" for 0.
std::string FormatRate(double bytes_per_second);
// "0:07", "12:41", "3:00:00"; "-" if infinite.
std::string FormatElapsed(absl::Duration elapsed);
// "2.3456", of the last round; "not reported" for NaN.
std::string FormatLoss(double loss);
// "12.5 %".
std::string FormatPercent(double fraction);

// Rows of cells as aligned columns, two blanks apart, a newline after each row. The last column is
// not padded.
std::string FormatColumns(const std::vector<std::vector<std::string>>& rows);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BASE_FORMAT_H_
