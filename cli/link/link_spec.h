// What a thin link is like, in one word of a command line.
//
//   spec  = "none" | rates [ "/" delay ]
//   rates = rate [ ":" rate ]           one rate for both directions, or up ":" down
//   rate  = number ( "bit" | "kbit" | "mbit" | "gbit" )     decimal multiples, per second
//   delay = number ( "us" | "ms" | "s" )
//
// "10mbit/40ms" is 10 Mbit/s each way and 40 ms one-way: a round trip takes 80 ms (P27).
#ifndef ISTHMUS_CLI_LINK_LINK_SPEC_H_
#define ISTHMUS_CLI_LINK_LINK_SPEC_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>

#include <limits>
#include <string>

namespace isthmus {

inline constexpr double kUnlimitedRate = std::numeric_limits<double>::infinity();

struct LinkSpec {
  double up_bits_per_second = kUnlimitedRate;    // from the connecting client to the server
  double down_bits_per_second = kUnlimitedRate;  // and back
  absl::Duration delay;                          // one-way, the same in both directions

  bool shaped() const;
  // As ParseLinkSpec() reads it.
  std::string ToString() const;

  friend bool operator==(const LinkSpec&, const LinkSpec&) = default;
};

// INVALID_ARGUMENT, saying what was expected, unless `text` follows the grammar with rates from
// 1 kbit/s to 100 Gbit/s and a delay of at most 10 s.
absl::StatusOr<LinkSpec> ParseLinkSpec(absl::string_view text);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_LINK_SPEC_H_
