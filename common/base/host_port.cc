#include "common/base/host_port.h"

#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/printable.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

constexpr size_t kMaxHostBytes = 255;  // DNS has no longer names
constexpr size_t kMaxShown = 80;

absl::Status Wrong(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("expected HOST:PORT, such as 127.0.0.1:29750, got '",
                   Printable(text.substr(0, kMaxShown)), "'", why));
}

// Names are letters, digits, hyphens and dots, some have underscores; IPv6 adds colons and, for a
// scope, a percent sign. A slash would be a URL or a path, which gRPC would take for another
// scheme.
bool IsHostCharacter(char c, bool ipv6) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || (ipv6 && (c == ':' || c == '%'));
}

// Digits alone: SimpleAtoi would take blanks and signs.
bool ParsePort(absl::string_view digits, int* port) {
  return !digits.empty() && digits.size() <= 5 &&
         std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
         absl::SimpleAtoi(digits, port);
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Wrong(text, ": no port");
  HostPort result;
  if (!ParsePort(text.substr(colon + 1), &result.port) || result.port > 65535) {
    return Wrong(text, ": no port from 0 to 65535");
  }
  absl::string_view host = text.substr(0, colon);
  const bool bracketed = absl::StartsWith(host, "[") && absl::EndsWith(host, "]");
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty()) return Wrong(text, ": no host");
  // An IPv6 address without brackets would lose its last group to the port.
  if (!bracketed && absl::StrContains(host, ':'))
    return Wrong(text, ": IPv6 is written [::1]:PORT");
  if (host.size() > kMaxHostBytes || !std::all_of(host.begin(), host.end(), [&](char c) {
        return IsHostCharacter(c, bracketed);
      })) {
    return Wrong(text, ": no name or address of a host");
  }
  result.host = std::string(host);
  return result;
}

absl::StatusOr<HostPort> ParseDialAddress(absl::string_view text) {
  ISTHMUS_ASSIGN_OR_RETURN(HostPort result, ParseHostPort(text));
  if (result.port == 0) return Wrong(text, ": no port from 1 to 65535");
  return result;
}

std::string ToString(const HostPort& address) {
  const bool ipv6 = absl::StrContains(address.host, ':');
  return absl::StrCat(ipv6 ? "[" : "", address.host, ipv6 ? "]" : "", ":", address.port);
}

}  // namespace isthmus
