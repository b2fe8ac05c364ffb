#include "worker/site/site_core.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "worker/jobs/rank_agreement.h"

namespace isthmus {

std::string SiteCore::MachineName(uint32_t machine) const {
  return absl::StrCat("machine ", machine);
}

SiteCore::Actions SiteCore::Attached(uint32_t machine, uint64_t session, Layout layout) {
  for (uint32_t m = 0; m < parts_.size(); ++m) {
    if (!parts_[m].has_value() || m == machine) continue;
    const absl::Status same = CheckSameModel(parts_[m]->layout, MachineName(m), layout);
    if (same.ok()) break;
    return {
        EndPart{machine, session,
                absl::Status(same.code(), absl::StrCat(options_.name, ", ", MachineName(machine),
                                                       ": ", same.message()))}};
  }
  Actions actions;
  if (parts_[machine].has_value()) {  // who attaches has left what was before
    actions = Lost(machine, parts_[machine]->session, "attached anew");
  }
  parts_[machine] = Part{session, std::move(layout), {}};
  if (!std::ranges::all_of(parts_, [](const auto& part) { return part.has_value(); })) {
    return actions;
  }
  state_ = State::kAttaching;
  for (uint32_t m = 0; m < parts_.size(); ++m) {
    actions.push_back(BindSession{m, parts_[m]->session, group_session()});
  }
  actions.push_back(SiteAttached{group_session()});
  return actions;
}

absl::StatusOr<SiteCore::Actions> SiteCore::Stepped(uint32_t machine, uint64_t session,
                                                    std::vector<RankStep> steps) {
  std::optional<Part>& part = parts_[machine];
  if (!part.has_value() || part->session != session) return Actions();
  if (steps.size() != options_.ranks[machine]) {
    return absl::InvalidArgumentError(absl::StrCat(MachineName(machine), ": expected steps of ",
                                                   options_.ranks[machine], " ranks, got ",
                                                   steps.size()));
  }
  if (state_ != State::kIdle || !part->steps.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(MachineName(machine), ": a step before the last was answered"));
  }
  for (const RankStep& step : steps) {
    const size_t groups = part->layout.parameter_groups();
    if (step.lr.size() == groups && step.weight_decay.size() == groups) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(MachineName(machine), ": expected rates of ", groups,
                     " parameter groups, got ", step.lr.size(), " and ", step.weight_decay.size()));
  }
  part->steps = std::move(steps);
  if (!std::ranges::all_of(parts_, [](const auto& p) { return !p->steps.empty(); })) {
    return Actions();
  }
  return CompleteStep();
}

SiteCore::Actions SiteCore::CompleteStep() {
  SiteStepped report{group_session(), {}};
  const RankStep first = parts_[0]->steps.front();
  for (uint32_t m = 0; m < parts_.size(); ++m) {
    // (Each machine has made sure of its own ranks.)
    const absl::Status same = CheckSameStep(first, "machine 0", parts_[m]->steps.front());
    if (!same.ok()) return EndBecauseOf(m, same);
    for (RankStep& step : parts_[m]->steps) report.steps.push_back(std::move(step));
  }
  state_ = State::kStepping;
  return {std::move(report)};
}

SiteCore::Actions SiteCore::Lost(uint32_t machine, uint64_t session, const std::string& reason) {
  std::optional<Part>& part = parts_[machine];
  if (!part.has_value() || part->session != session) return {};
  if (state_ == State::kForming) {
    part.reset();
    return {};
  }
  return End(absl::AbortedError(reason), machine);
}

SiteCore::Actions SiteCore::FinishAttach(uint64_t group_session,
                                         const absl::StatusOr<AttachReply>& reply) {
  if (!reply.ok()) return EndSession(group_session, reply.status());
  if (!IsWhole(group_session)) return {};
  state_ = State::kIdle;
  Actions actions;
  AttachReply mine = *reply;
  for (uint32_t m = 0; m < parts_.size(); ++m) {
    actions.push_back(AnswerAttach{m, parts_[m]->session, mine});
    mine.first_rank += options_.ranks[m];
  }
  return actions;
}

SiteCore::Actions SiteCore::FinishStep(uint64_t group_session,
                                       const absl::StatusOr<StepReply>& reply) {
  if (!reply.ok()) return EndSession(group_session, reply.status());
  if (!IsWhole(group_session)) return {};
  state_ = State::kIdle;
  Actions actions;
  for (uint32_t m = 0; m < parts_.size(); ++m) {
    parts_[m]->steps.clear();
    actions.push_back(AnswerStep{m, parts_[m]->session, *reply});
  }
  return actions;
}

SiteCore::Actions SiteCore::EndSession(const absl::Status& status) {
  return End(status, std::nullopt);
}

SiteCore::Actions SiteCore::EndSession(uint64_t group_session, const absl::Status& status) {
  if (!IsWhole(group_session)) return {};
  return End(status, std::nullopt);
}

SiteCore::Actions SiteCore::EndBecauseOf(uint32_t blamed, const absl::Status& status) {
  Actions actions;
  actions.push_back(
      EndPart{blamed, parts_[blamed]->session,
              absl::Status(status.code(), absl::StrCat(options_.name, ", ", MachineName(blamed),
                                                       ": ", status.message()))});
  Actions others =
      End(absl::AbortedError(absl::StrCat(
              options_.name, ": the session ended: ", MachineName(blamed), ": ", status.message())),
          blamed);
  std::ranges::move(others, std::back_inserter(actions));
  return actions;
}

// All but `spared`, which is gone or knows.
SiteCore::Actions SiteCore::End(const absl::Status& status, std::optional<uint32_t> spared) {
  Actions actions;
  for (uint32_t m = 0; m < parts_.size(); ++m) {
    if (parts_[m].has_value() && m != spared) {
      actions.push_back(EndPart{m, parts_[m]->session, status});
    }
  }
  if (state_ != State::kForming) {
    actions.push_back(SiteLost{group_session(), std::string(status.message())});
  }
  state_ = State::kForming;
  std::ranges::fill(parts_, std::nullopt);
  return actions;
}

}  // namespace isthmus
