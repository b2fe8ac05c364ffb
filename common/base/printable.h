// Text of strangers, made safe to show.
#ifndef ISTHMUS_COMMON_BASE_PRINTABLE_H_
#define ISTHMUS_COMMON_BASE_PRINTABLE_H_

#include <absl/strings/string_view.h>

#include <string>

namespace isthmus {

// `text` with everything replaced by '?' that a terminal would obey instead of showing, or that
// would make a reader see another order than was written: control characters (C0, DEL and C1, line
// breaks too), the marks of bidirectional text, and bytes that are no UTF-8. Other text passes
// unchanged. Labels, reasons and events come from peers, and an ESC in one of them can retitle,
// clear or answer for the terminal of whoever looks.
std::string Printable(absl::string_view text);

// Whether Printable() would change nothing.
bool IsPrintable(absl::string_view text);

// The same line by line: '\n' and '\t' stay. For text that may have several lines of its own, such
// as the end of a log.
std::string PrintableLines(absl::string_view text);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_PRINTABLE_H_
