// A link that changes over time, as a file says it: a line for each change, seconds and what the
// link is from then on, and perhaps a last one that says when all of it begins again:
//
//   # minutes of a satellite link
//   0   20mbit/40ms
//   30  1mbit:5mbit/300ms
//   60  repeat
#ifndef ISTHMUS_CLI_LINK_LINK_TRACE_H_
#define ISTHMUS_CLI_LINK_LINK_TRACE_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>

#include <optional>
#include <vector>

#include "cli/link/link_spec.h"

namespace isthmus {

class LinkTrace {
 public:
  // INVALID_ARGUMENT naming the line, what was expected and what it says: times ascend from 0, up
  // to a day; links are those of link_spec.h; at most 100,000 lines.
  static absl::StatusOr<LinkTrace> Parse(absl::string_view text);

  // What the link is so long after the beginning, 0 or more.
  const LinkSpec& At(absl::Duration since) const;
  const LinkSpec& first() const { return changes_.front().link; }

 private:
  struct Change {
    absl::Duration from;
    LinkSpec link;
  };
  std::vector<Change> changes_;           // ascending; the first from 0
  std::optional<absl::Duration> repeat_;  // after all of them
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_LINK_LINK_TRACE_H_
