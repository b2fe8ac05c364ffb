#include "server/core/event.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

namespace isthmus {
namespace {

std::string Of(GroupId group) { return absl::StrCat("group ", group.value()); }
std::string Of(Member member) {
  return absl::StrCat("group ", member.group.value(), " incarnation ", member.incarnation.value());
}
std::string In(Round round) { return absl::StrCat("round ", round.value()); }
std::string In(Round round, BucketIndex bucket) {
  return absl::StrCat("round ", round.value(), " bucket ", bucket.value());
}

std::string Because(const std::string& phase) {
  return phase.empty() ? "" : absl::StrCat(" (", phase, ")");
}

struct Words {
  std::string operator()(const Joined& e) const {
    return absl::StrCat(Of(e.member.group), " '", e.label, "' registered as incarnation ",
                        e.member.incarnation.value(),
                        e.replaced ? ", in place of the one before" : "");
  }
  std::string operator()(const JobReady& e) const {
    return absl::StrCat(Of(e.member.group), " is ready");
  }
  std::string operator()(const JobGone& e) const {
    return absl::StrCat(Of(e.member.group), " is not ready: ", e.reason);
  }
  std::string operator()(const Left& e) const {
    return absl::StrCat(Of(e.member.group), " left: ", e.reason);
  }
  std::string operator()(const RefusedMember& e) const {
    return absl::StrCat(Of(e.group), " refused: ", e.reason);
  }
  std::string operator()(const ChosenDonor& e) const {
    return absl::StrCat("all groups start from the parameters of ", Of(e.group));
  }
  std::string operator()(const NotAwaited& e) const {
    return absl::StrCat(In(e.round), " no longer waits for ", Of(e.group), ": ", e.reason);
  }
  std::string operator()(const CommittedWithout& e) const {
    return absl::StrCat(In(e.round, e.bucket), " was committed without ",
                        e.groups.size() == 1 ? "group " : "groups ",
                        absl::StrJoin(e.groups, ", ", [](std::string* out, GroupId id) {
                          absl::StrAppend(out, id.value());
                        }));
  }
  std::string operator()(const FoundSilent& e) const {
    return absl::StrCat(Of(e.member), ": silent: sent nothing within the deadline of ", In(e.round),
                        Because(e.phase), "; not waited for until it sends");
  }
  std::string operator()(const SendsAgain& e) const {
    return absl::StrCat(Of(e.member), ": sends again");
  }
  std::string operator()(const FoundTooSlow& e) const {
    return absl::StrCat(Of(e.member), ": too slow: late in ", In(e.round), Because(e.phase),
                        " though it sends: it should send less");
  }
  std::string operator()(const InTimeAgain& e) const {
    return absl::StrCat(Of(e.member), ": in time again, in ", In(e.round));
  }
  std::string operator()(const RatesDiffer& e) const {
    return absl::StrCat(In(e.round, e.bucket), ": ", Of(e.group),
                        " has another learning rate or weight decay than ", Of(e.counts),
                        ", whose count");
  }
  std::string operator()(const AuditDiffered& e) const {
    return absl::StrCat("audit of ", In(e.round), ": ", Of(e.member), " differs in ", e.difference);
  }
  std::string operator()(const Resynced& e) const {
    if (e.source == e.member.group) {
      return absl::StrCat(Of(e.member), ": its state differs, a snapshot follows");
    }
    return absl::StrCat(Of(e.member), " has its state from ", Of(e.source),
                        ", which differs: a snapshot follows");
  }
  std::string operator()(const Reinstated& e) const {
    return absl::StrCat(Of(e.member),
                        ": nobody who agreed is left: it goes on with the state that it has");
  }
  std::string operator()(const SnapshotFailed& e) const {
    return absl::StrCat("snapshot ", e.transfer.value(), " from ", Of(e.donor), " to ",
                        Of(e.joiner), ": ", e.reason);
  }
  std::string operator()(const RunEnded& e) const {
    return absl::StrCat("the run ended with ", In(e.round));
  }
  std::string operator()(const PaceChanged& e) const {
    const std::string what =
        absl::StrCat("from ", In(e.change.from), " on: ", DifferenceText(e.before, e.change.format),
                     " (", Name(e.decision.reason), ")");
    if (!e.decision.expected) return what;
    const Prediction& predicted = *e.decision.expected;
    return absl::StrCat(
        what, "; expected: an exchange in ",
        absl::StrFormat("%.3g s, %.1f %% of a step of %.3g s",
                        absl::ToDoubleSeconds(predicted.exchange), 100 * predicted.cost.ratio,
                        absl::ToDoubleSeconds(predicted.cost.step)),
        e.decision.target_met ? "" : "; no plan comes within the target ratio");
  }
  std::string operator()(const PaceFrozen& e) const {
    return absl::StrCat("in ", In(e.round), ": the pace is told to ",
                        e.frozen ? "keep what rounds have" : "go on");
  }
};

struct Kinds {
  const char* operator()(const Joined&) const { return "joined"; }
  const char* operator()(const JobReady&) const { return "job_ready"; }
  const char* operator()(const JobGone&) const { return "job_gone"; }
  const char* operator()(const Left&) const { return "left"; }
  const char* operator()(const RefusedMember&) const { return "refused"; }
  const char* operator()(const ChosenDonor&) const { return "donor_chosen"; }
  const char* operator()(const NotAwaited&) const { return "not_awaited"; }
  const char* operator()(const CommittedWithout&) const { return "committed_without"; }
  const char* operator()(const FoundSilent&) const { return "silent"; }
  const char* operator()(const SendsAgain&) const { return "sends_again"; }
  const char* operator()(const FoundTooSlow&) const { return "too_slow"; }
  const char* operator()(const InTimeAgain&) const { return "in_time_again"; }
  const char* operator()(const RatesDiffer&) const { return "rates_differ"; }
  const char* operator()(const AuditDiffered&) const { return "audit_differed"; }
  const char* operator()(const Resynced&) const { return "resynced"; }
  const char* operator()(const Reinstated&) const { return "reinstated"; }
  const char* operator()(const SnapshotFailed&) const { return "snapshot_failed"; }
  const char* operator()(const RunEnded&) const { return "run_ended"; }
  const char* operator()(const PaceChanged&) const { return "pace_changed"; }
  const char* operator()(const PaceFrozen& e) const {
    return e.frozen ? "pace_frozen" : "pace_thawed";
  }
};

}  // namespace

std::string EventText(const Event& event) { return std::visit(Words(), event); }
const char* EventKind(const Event& event) { return std::visit(Kinds(), event); }

}  // namespace isthmus
