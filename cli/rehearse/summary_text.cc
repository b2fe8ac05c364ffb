// The part of summary.h that people read.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_replace.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cli/base/format.h"
#include "cli/rehearse/summary.h"
#include "common/base/printable.h"

namespace isthmus {
namespace {

// Text of a byte-level model, indented, with what a terminal might act on made visible.
std::string Quote(const std::string& sample) {
  return absl::StrCat("  | ", absl::StrReplaceAll(PrintableLines(sample), {{"\n", "\n  | "}}),
                      "\n");
}

// Jobs of other people's seldom write a report; what they train on they tell their worker.
std::vector<std::string> LossRow(const Summary& summary) {
  if (!summary.validation_loss) {
    return {"loss", std::isnan(summary.loss)
                        ? "not reported by the job"
                        : absl::StrFormat("%.4f in the last round, the mean of the sites' batches",
                                          summary.loss)};
  }
  std::string text = absl::StrFormat("%.4f nats", *summary.validation_loss);
  if (summary.unigram_entropy) {
    absl::StrAppend(
        &text, absl::StrFormat(" (guessing by letter frequency: %.4f)", *summary.unigram_entropy));
  }
  return {"validation loss", text};
}

std::string PaceText(const Summary& summary) {
  return absl::StrCat(summary.tokens_per_second > 0
                          ? absl::StrFormat("%.0f tokens/s", summary.tokens_per_second)
                          : absl::StrFormat("%.4g samples/s", summary.samples_per_second),
                      " over ", FormatElapsed(absl::Seconds(summary.elapsed_seconds)));
}

// "12.3 kB up (341x less than float32, 171x less than bf16)".
std::string BytesText(double bytes, uint64_t dense_float32_bytes, const char* direction) {
  std::string text = absl::StrCat(FormatBytes(bytes), " ", direction);
  if (bytes > 0 && dense_float32_bytes > 0) {
    const double ratio = static_cast<double>(dense_float32_bytes) / bytes;
    absl::StrAppend(&text, absl::StrFormat(" (float32 %.1fx, bf16 %.1fx)", ratio, ratio / 2));
  }
  return text;
}

std::string StepText(const Summary& summary) {
  return absl::StrCat(FormatSeconds(summary.step_seconds), ", of that compute ",
                      FormatSeconds(summary.compute_seconds), ", waiting for the link ",
                      FormatPercent(summary.communication_ratio));
}

std::string FullText(const Summary& summary) {
  if (!summary.full_step_seconds) return "not measured";
  std::string text = FormatSeconds(*summary.full_step_seconds);
  if (summary.exchange_speedup) {
    absl::StrAppend(&text, absl::StrFormat("; its exchange takes %.1f times as long",
                                           *summary.exchange_speedup));
  }
  return text;
}

std::string ReplicasText(const Summary& summary) {
  if (summary.hashes_equal) {
    return absl::StrCat("bit-identical (", summary.hashes[0], " at every site)");
  }
  std::string text = summary.replicas_part ? "apart, as scheme none trains them:" : "DIFFERENT:";
  for (size_t site = 0; site < summary.hashes.size(); ++site) {
    absl::StrAppend(&text, " site-", site + 1, " ",
                    summary.hashes[site].empty() ? "not reported" : summary.hashes[site]);
  }
  return text;
}

}  // namespace

std::string SummaryText(const Summary& summary) {
  std::vector<std::vector<std::string>> rows = {
      LossRow(summary),
      {"rounds",
       absl::StrCat(summary.rounds_committed, " committed",
                    summary.every == "1 step" ? "" : absl::StrCat(", every ", summary.every),
                    ", contributions ", summary.contributions_late, " late, ",
                    summary.contributions_rejected, " rejected, ", summary.abstentions,
                    " abstained")},
      {"replicas", ReplicasText(summary)},
      {"audit", absl::StrCat("compared after ", summary.audits, " rounds, ",
                             summary.audit_mismatches, " states differed")},
      {"step", StepText(summary)},
      {"step of scheme full", FullText(summary)},
      {"dense gradients",
       absl::StrCat(FormatBytes(static_cast<double>(summary.dense_float32_bytes)), " as float32, ",
                    FormatBytes(static_cast<double>(summary.dense_float32_bytes) / 2), " as bf16 (",
                    summary.parameters, " parameters)")},
  };
  for (size_t site = 0; site < summary.bytes_up_per_step.size(); ++site) {
    rows.push_back(
        {absl::StrCat("site-", site + 1, " per step"),
         absl::StrCat(
             BytesText(summary.bytes_up_per_step[site], summary.dense_float32_bytes, "up"), ", ",
             BytesText(summary.bytes_down_per_step[site], summary.dense_float32_bytes, "down"),
             ", link ", summary.links[site])});
  }
  rows.push_back({"pace", PaceText(summary)});
  std::string text = FormatColumns(rows);
  if (!summary.sample.empty()) {
    absl::StrAppend(&text, "\nwhat the model writes:\n", Quote(summary.sample));
  }
  return text;
}

}  // namespace isthmus
