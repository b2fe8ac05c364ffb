#include "cli/status/status_table.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <google/protobuf/util/json_util.h>

#include <utility>
#include <vector>

#include "cli/base/format.h"
#include "common/base/printable.h"

namespace isthmus {
namespace {

std::string DescribeRun(const v1::RunSpec& run) {
  std::string text = run.scheme();
  if (run.scheme() == "flexdemo") {
    absl::StrAppend(&text, ", chunk ", run.chunk_size(), ", k ", run.k(), ", decay ", run.decay(),
                    ", values ", run.values(), run.sign() ? ", sign" : "");
  }
  absl::StrAppend(&text, ", merge ", run.merge(), ", optimizer ", run.optimizer());
  absl::StrAppend(&text, ", groups to start ", run.start_groups(), ", to commit ",
                  run.min_groups());
  return text;
}

std::string DescribeRound(const v1::GetStatusReply& status) {
  std::string text = absl::StrCat(status.round());
  if (status.run().rounds() > 0) absl::StrAppend(&text, " of ", status.run().rounds());
  absl::StrAppend(&text, ", ", status.rounds_committed(), " committed");
  if (status.rounds_committed() > 0) {
    absl::StrAppend(&text, ", loss ", FormatLoss(static_cast<double>(status.loss())));
  }
  return absl::StrCat(text, absl::StrFormat(", %.1f samples/s", status.samples_per_second()));
}

std::string DescribeAudit(const v1::GetStatusReply& status) {
  if (status.run().audit_rounds() == 0) return "off";
  return absl::StrCat("every ", status.run().audit_rounds(), " rounds: ", status.audits(),
                      " compared, ", status.audit_mismatches(), " states differed");
}

std::string DescribeConnections(const v1::ConnectionStatus& connections) {
  std::string text =
      absl::StrCat(connections.taken(), " taken, ", connections.turned_away(), " turned away");
  if (connections.listener_reopened() > 0) {
    absl::StrAppend(&text, ", listener reopened ", connections.listener_reopened(), " times");
  }
  if (!connections.congestion_control().empty()) {
    absl::StrAppend(&text, ", ", connections.congestion_control());
  }
  return text;
}

// Everything that a peer has written passes through here on its way to a terminal.
std::string PrintableColumns(std::vector<std::vector<std::string>> rows) {
  for (std::vector<std::string>& row : rows) {
    for (std::string& cell : row) cell = Printable(cell);
  }
  return FormatColumns(rows);
}

// What the next rounds have, and why.
std::string DescribePace(const v1::GetStatusReply& status) {
  if (!status.has_pace()) return "off";
  const v1::PaceStatus& pace = status.pace();
  std::string text;
  if (status.rounds_size() > 0) {
    const v1::PastRound& last = *status.rounds().rbegin();
    text = status.run().scheme() == "local" ? absl::StrCat("every ", last.every())
                                            : absl::StrCat(last.k(), " of ", last.chunk_size());
    absl::StrAppend(&text, ", ");
  }
  if (pace.frozen()) absl::StrAppend(&text, "frozen, ");
  absl::StrAppend(&text, pace.reason());
  if (pace.step_seconds() <= 0) return text;
  return absl::StrCat(text, ": an exchange in ", FormatSeconds(pace.exchange_seconds()),
                      " expected, ", FormatPercent(pace.communication_ratio()), " of a step of ",
                      FormatSeconds(pace.step_seconds()),
                      pace.target_met() ? "" : "; no plan comes within the target");
}

std::string DescribeLink(const v1::LinkEstimate& link) {
  return absl::StrCat(link.at_least() && link.bytes_per_second() > 0 ? ">= " : "",
                      FormatRate(link.bytes_per_second()));
}

std::vector<std::string> GroupRow(const v1::GroupStatus& group, uint32_t buckets) {
  const v1::HeartbeatRequest& beat = group.heartbeat();
  std::string event = group.last_event();
  if (!beat.waiting().empty()) {
    event = absl::StrCat("waits: ", beat.waiting(), event.empty() ? "" : "; ", event);
  }
  return {absl::StrCat(group.group_id()),
          group.label(),
          group.state(),
          group.connected() ? "yes" : "no",
          group.awaited() ? "yes" : "no",
          absl::StrCat(group.buckets_received(), "/", buckets),
          absl::StrCat(group.contributions_late()),
          FormatBytes(static_cast<double>(group.bytes_up())),
          FormatBytes(static_cast<double>(group.bytes_down())),
          DescribeLink(group.up()),
          DescribeLink(beat.down()),
          FormatSeconds(group.round_trip_seconds()),
          beat.steps() > 0 ? FormatPercent(beat.communication_ratio()) : "-",
          FormatSeconds(beat.step_seconds()),
          absl::StrCat(absl::StrFormat("%.1f", group.seconds_since_heard()), " s ago"),
          event};
}

}  // namespace

std::string StateName(v1::GetStatusReply::State state) {
  switch (state) {
    case v1::GetStatusReply::WAITING_FOR_GROUPS:
      return "waiting for groups";
    case v1::GetStatusReply::AGREEING:
      return "agreeing on the initial parameters";
    case v1::GetStatusReply::TRAINING:
      return "training";
    case v1::GetStatusReply::WAITING_FOR_QUORUM:
      return "waiting for a quorum";
    case v1::GetStatusReply::ENDED:
      return "ended";
    default:
      return absl::StrCat("state ", static_cast<int>(state));
  }
}

std::string FormatStatusTable(const v1::GetStatusReply& status) {
  // A reason why there is no training says the state by itself.
  std::string state = status.waiting_reason();
  if (state.empty()) state = StateName(status.state());
  if (status.state() == v1::GetStatusReply::TRAINING && !status.waiting_reason().empty()) {
    state = absl::StrCat(StateName(status.state()), ": ", status.waiting_reason());
  }
  std::string text = PrintableColumns({
      {"run", DescribeRun(status.run())},
      {"instance", absl::StrFormat("%016x, epoch %d, up %s", status.instance(), status.epoch(),
                                   FormatElapsed(absl::Seconds(status.uptime_seconds())))},
      {"model", absl::StrCat(status.parameters(), " parameters in ", status.buckets(), " buckets")},
      {"state", state},
      {"round", DescribeRound(status)},
      {"contributions",
       absl::StrCat(status.contributions_merged(), " merged, ", status.contributions_late(),
                    " late, ", status.contributions_rejected(), " rejected, ", status.abstentions(),
                    " abstained, ", status.scalar_mismatches(), " with other scalars")},
      {"pace", DescribePace(status)},
      {"audit", DescribeAudit(status)},
      {"connections", DescribeConnections(status.connections())},
  });
  std::vector<std::vector<std::string>> rows = {
      {"group", "label", "state", "connected", "awaited", "buckets", "late", "up", "down",
       "link up", "link down", "round trip", "communication", "step", "heard", "last event"}};
  for (const v1::GroupStatus& group : status.groups()) {
    rows.push_back(GroupRow(group, status.buckets()));
  }
  if (rows.size() == 1) return absl::StrCat(text, "\nno group has registered yet\n");
  return absl::StrCat(text, "\n", PrintableColumns(std::move(rows)));
}

std::string FormatStatusJson(const v1::GetStatusReply& status, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only for Any and the like, which the message has not.
  (void)google::protobuf::util::MessageToJsonString(status, &json, options);
  if (!pretty) json += '\n';
  return json;
}

}  // namespace isthmus
