#include "common/base/printable.h"

#include <cstddef>
#include <cstdint>

namespace isthmus {
namespace {

struct Decoded {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: no UTF-8
};

// One code point from the start of `text`, which is not empty.
Decoded Decode(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  uint32_t code = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  // What a shorter sequence could say, halves of surrogate pairs, and what is beyond Unicode: a
  // terminal may decode those as anything.
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  if (overlong || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) return {};
  return {code, bytes};
}

bool IsHarmless(uint32_t code) {
  const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
  const bool breaks_lines = code == 0x2028 || code == 0x2029;
  const bool turns_direction = code == 0x061C || code == 0x200E || code == 0x200F ||
                               (code >= 0x202A && code <= 0x202E) ||
                               (code >= 0x2066 && code <= 0x2069);
  return !control && !breaks_lines && !turns_direction;
}

std::string Clean(absl::string_view text, bool keep_lines) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const Decoded next = Decode(text);
    const bool layout = keep_lines && (next.code == '\n' || next.code == '\t');
    const size_t bytes = next.bytes == 0 ? 1 : next.bytes;
    if (next.bytes > 0 && (layout || IsHarmless(next.code))) {
      clean.append(text.data(), bytes);
    } else {
      clean += '?';
    }
    text.remove_prefix(bytes);
  }
  return clean;
}

}  // namespace

std::string Printable(absl::string_view text) { return Clean(text, /*keep_lines=*/false); }

bool IsPrintable(absl::string_view text) { return Printable(text) == text; }

std::string PrintableLines(absl::string_view text) { return Clean(text, /*keep_lines=*/true); }

}  // namespace isthmus
