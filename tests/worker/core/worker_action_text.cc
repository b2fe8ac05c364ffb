#include "tests/worker/core/worker_action_text.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

namespace isthmus {
namespace {

std::string Place(Round round, BucketIndex bucket) {
  return absl::StrCat(round.value(), "/", bucket.value());
}

// One overload per action, so that a new action does not compile until it has a text.
struct Text {
  std::string operator()(const AnnounceReady&) const { return "ready"; }
  std::string operator()(const AnnounceNotReady& a) const { return "not ready: " + a.reason; }
  std::string operator()(const SendHello& a) const {
    return absl::StrCat("hello, applied ", a.applied.value());
  }
  std::string operator()(const SendAbstain& a) const {
    return absl::StrCat("abstain ", Place(a.round, a.bucket),
                        a.reason == AbstainReason::kSkipped   ? " skipped"
                        : a.reason == AbstainReason::kRefused ? " refused"
                                                              : " nonfinite");
  }
  std::string operator()(const StopSending& a) const { return "stop " + Place(a.round, a.bucket); }
  std::string operator()(const ForgetAnswer& a) const {
    return "forget " + Place(a.round, a.bucket);
  }
  std::string operator()(const ResendAnswers&) const { return "resend"; }
  std::string operator()(const SendCaughtUp& a) const {
    return absl::StrCat("caught up by ", a.transfer.value(), " to ", a.sequence.value());
  }
  std::string operator()(const AdoptJobParameters&) const { return "adopt"; }
  std::string operator()(const LoadJob&) const { return "load"; }
  std::string operator()(const ProcessBucket& a) const {
    return absl::StrCat("process ", Place(a.round, a.bucket), a.extract ? "" : " keeping all",
                        a.job_goes_on ? " going on" : "");
  }
  std::string operator()(const ApplyUpdate& a) const {
    const char* credit = a.credit == Credit::kMerged   ? " merged"
                         : a.credit == Credit::kReturn ? " return"
                                                       : "";
    return absl::StrCat("apply ", a.sequence.value(), " to ", a.bucket.value(), credit,
                        a.gather ? " gather" : "");
  }
  std::string operator()(const GatherBucket& a) const {
    return absl::StrCat(a.how == Gathering::kShow ? "show " : "gather ", a.bucket.value(),
                        a.how == Gathering::kAnchor ? " alone" : "");
  }
  std::string operator()(const GiveSnapshot& a) const {
    return absl::StrCat(
        "give ", a.transfer.value(), " as of ", a.sequence.value(), ", round ", a.round.value(),
        " [",
        absl::StrJoin(a.applied_rounds, " ",
                      [](std::string* text, Round round) { absl::StrAppend(text, round.value()); }),
        "]");
  }
  std::string operator()(const InstallSnapshot& a) const {
    return absl::StrCat("install ", a.transfer.value(), a.reset_momentum ? " reset" : "");
  }
  std::string operator()(const ReportHash& a) const {
    return absl::StrCat(a.audit ? "audit " : "hash ", a.round.value());
  }
  std::string operator()(const FinishAttach& a) const {
    return absl::StrCat("attached as ", a.group_index, " of ", a.group_count, ", round ",
                        a.round.value());
  }
  std::string operator()(const FinishStep& a) const {
    return absl::StrCat("step done ", a.round.value(), a.end ? " END" : a.gave ? "" : " so far");
  }
  std::string operator()(const NameStep&) const { return "name a step"; }
  std::string operator()(const FailStep& a) const {
    return absl::StrCat("step fails: ", std::string(a.status.message()));
  }
};

}  // namespace

std::string ToText(const WorkerAction& action) { return std::visit(Text(), action); }

std::vector<std::string> CoreUnderTest::Texts() {
  std::vector<std::string> texts;
  for (const WorkerAction& action : out) texts.push_back(ToText(action));
  out.clear();
  return texts;
}

void CoreUnderTest::Start(uint32_t buckets) {
  core.JobAttached(buckets, out);
  core.StreamOpened(out);
  core.Started(0, 2, out);
  out.clear();
}

absl::Status CoreUnderTest::Update(Round round, BucketIndex bucket, bool listed,
                                   const std::optional<FormatChange>& change) {
  UpdateHeader update;
  update.sequence = core.applied_sequence().next();
  update.round = round;
  update.bucket = bucket;
  update.contributors = {{GroupId(1), Incarnation(1), 1, 2.0f}};
  update.change = change;
  if (listed) update.contributors.push_back({GroupId(5), Incarnation(2), 1, 4.0f});
  return core.UpdateArrived(update, absl::Seconds(1), out);
}

}  // namespace isthmus
