#include "tests/server/core/action_text.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>

namespace isthmus {
namespace {

std::string StreamText(StreamId stream) { return absl::StrCat("stream ", stream.value(), ": "); }

std::string PlaceText(Round round, BucketIndex bucket) {
  return absl::StrCat("round ", round.value(), " bucket ", bucket.value());
}

// One overload per action, so that a new action does not compile until it has a text.
struct Text {
  std::string operator()(const MergeBucket& a) const {
    const UpdateHeader& update = a.update;
    std::string text = absl::StrCat("merge ", update.sequence.value(), ": ",
                                    PlaceText(update.round, update.bucket), " of ");
    if (update.change) {
      text = absl::StrCat("from round ", update.change->from.value(), " on ",
                          update.change->format.all.k, " of ", update.change->format.chunk_size,
                          "; ", text);
    }
    if (update.contributors.empty()) return text + "nobody";
    absl::StrAppend(
        &text, absl::StrJoin(update.contributors, ", ", [](std::string* out, const Contributor& c) {
          absl::StrAppend(out, "group ", c.group.value(), ".", c.incarnation.value());
        }));
    for (const ParameterGroupScalars& s : update.scalars) {
      absl::StrAppend(&text, "; lr ", s.lr, " decay ", s.decay);
    }
    const auto some = [](absl::Duration d) { return d > absl::ZeroDuration(); };
    if (std::any_of(a.waited.begin(), a.waited.end(), some)) {
      absl::StrAppend(&text, "; waited ", absl::StrJoin(a.waited, ", ", absl::StreamFormatter()));
    }
    return text;
  }
  std::string operator()(const Append& a) const {
    return absl::StrCat("append ", a.sequence.value());
  }
  std::string operator()(const Publish& a) const {
    return absl::StrCat("publish ", a.sequence.value());
  }
  std::string operator()(const SendUpdates& a) const {
    return absl::StrCat(StreamText(a.stream), "updates from ", a.from.value());
  }
  std::string operator()(const SendStart& a) const {
    return absl::StrCat(StreamText(a.stream), "start with round ", a.open_round.value(), ", as ",
                        a.group_index, " of ", a.group_count);
  }
  std::string operator()(const SendDue& a) const {
    return absl::StrCat(StreamText(a.stream), "round ", a.round.value(), " is due");
  }
  std::string operator()(const SendClosed& a) const {
    return absl::StrCat(StreamText(a.stream), "closed ", PlaceText(a.round, a.bucket));
  }
  std::string operator()(const StartTransfer& a) const {
    return absl::StrCat(
        "transfer ", a.transfer.value(), ": from stream ", a.donor.value(), " to stream ",
        a.joiner.value(),
        a.at_least == Sequence(0) ? "" : absl::StrCat(", as of ", a.at_least.value(), " at least"));
  }
  std::string operator()(const AbortTransfer& a) const {
    return absl::StrCat("transfer ", a.transfer.value(), " aborted (stream ", a.donor.value(),
                        " to stream ", a.joiner.value(), "): ", a.reason);
  }
  std::string operator()(const CloseStream& a) const {
    return absl::StrCat(StreamText(a.stream), "end with ", ToText(a.status));
  }
  std::string operator()(const DropContribution& a) const {
    return absl::StrCat("drop group ", a.group.value(), " ", PlaceText(a.round, a.bucket));
  }
  std::string operator()(const Happened& a) const {
    return absl::StrCat(EventKind(a.event), ": ", EventText(a.event));
  }
};

}  // namespace

std::string ToText(const Action& action) { return std::visit(Text(), action); }

std::string ToText(const absl::Status& status) {
  return status.ok() ? "OK"
                     : absl::StrCat(absl::StatusCodeToString(status.code()), ": ",
                                    std::string(status.message()));
}

}  // namespace isthmus
