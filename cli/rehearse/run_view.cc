#include "cli/rehearse/run_view.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/status/status_table.h"
#include "common/base/printable.h"
#include "isthmus/v1/control.pb.h"

namespace isthmus {
namespace {

bool CountsAsReady(const std::string& state) {
  return state == "ready" || state == "syncing" || state == "active";
}

// The number at `key`, or nullopt where it is missing or null.
std::optional<double> Number(const nlohmann::json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number()) return std::nullopt;
  return it->get<double>();
}

std::vector<CurvePoint> Curve(const nlohmann::json& report) {
  std::vector<CurvePoint> curve;
  const auto it = report.find("validation_curve");
  if (it == report.end() || !it->is_array()) return curve;
  for (const nlohmann::json& point : *it) {
    const std::optional<double> step = Number(point, "step");
    const std::optional<double> loss = Number(point, "loss");
    if (step && loss) curve.push_back({.step = static_cast<uint64_t>(*step), .loss = *loss});
  }
  return curve;
}

}  // namespace

const GroupView* RunView::Group(uint32_t group_id) const {
  const auto it = std::find_if(groups.begin(), groups.end(),
                               [&](const GroupView& group) { return group.group_id == group_id; });
  return it == groups.end() ? nullptr : &*it;
}

RunView MakeRunView(const v1::GetStatusReply& status) {
  RunView view;
  view.training = status.state() == v1::GetStatusReply::TRAINING ||
                  status.state() == v1::GetStatusReply::WAITING_FOR_QUORUM;
  view.ended = status.state() == v1::GetStatusReply::ENDED;
  view.state = StateName(status.state());
  view.reason = Printable(status.waiting_reason());
  view.round = status.round();
  view.rounds_committed = status.rounds_committed();
  view.parameters = status.parameters();
  view.loss = static_cast<double>(status.loss());
  view.samples_per_second = status.samples_per_second();
  view.contributions_late = status.contributions_late();
  view.contributions_rejected = status.contributions_rejected();
  view.abstentions = status.abstentions();
  view.audits = status.audits();
  view.audit_mismatches = status.audit_mismatches();
  for (const v1::GroupStatus& group : status.groups()) {
    if (CountsAsReady(group.state())) ++view.ready_groups;
    view.groups.push_back({.group_id = group.group_id(),
                           .state = Printable(group.state()),
                           .hash_round = group.heartbeat().hash_round(),
                           .state_hash = group.heartbeat().state_hash(),
                           .step_seconds = group.heartbeat().step_seconds(),
                           .compute_seconds = group.heartbeat().compute_seconds(),
                           .communication_ratio = group.heartbeat().communication_ratio()});
  }
  for (const v1::PastRound& past : status.rounds()) {
    view.rounds.push_back({.round = past.round(),
                           .seconds = past.seconds(),
                           .chunk = past.chunk_size(),
                           .k = past.k(),
                           .values = past.values(),
                           .every = past.every(),
                           .group_formats = Printable(past.group_formats()),
                           .bytes_up = past.bytes_up(),
                           .bytes_down = past.bytes_down()});
  }
  return view;
}

bool AllHashed(const RunView& view, int sites, uint64_t round) {
  for (int site = 1; site <= sites; ++site) {
    const GroupView* group = view.Group(static_cast<uint32_t>(site));
    if (group == nullptr || group->hash_round != round) return false;
  }
  return true;
}

absl::StatusOr<JobReport> ParseJobReport(const std::string& json) {
  const auto object = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError("expected a report as one JSON object");
  }
  JobReport report;
  report.parameters = static_cast<uint64_t>(Number(object, "parameters").value_or(0));
  report.tokens_per_step = static_cast<uint64_t>(Number(object, "tokens_per_step").value_or(0));
  report.steps = static_cast<uint64_t>(Number(object, "steps").value_or(0));
  report.validation_loss = Number(object, "validation_loss");
  report.validation_curve = Curve(object);
  report.unigram_entropy = Number(object, "unigram_entropy");
  report.step_seconds_mean = Number(object, "step_seconds_mean").value_or(0);
  report.step_seconds = Number(object, "step_seconds").value_or(0);
  report.compute_seconds = Number(object, "compute_seconds").value_or(0);
  report.communication_ratio = Number(object, "communication_ratio").value_or(0);
  if (const auto it = object.find("sample"); it != object.end() && it->is_string()) {
    // Escaped as in C: a byte-level model may say anything.
    if (!absl::CUnescape(it->get<std::string>(), &report.sample)) report.sample = *it;
  }
  return report;
}

}  // namespace isthmus
