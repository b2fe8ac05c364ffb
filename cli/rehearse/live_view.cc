#include "cli/rehearse/live_view.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <ostream>

#include "cli/base/format.h"

namespace isthmus {
namespace {

constexpr absl::Duration kPlainInterval = absl::Seconds(5);
constexpr size_t kMaxBar = 40;

double Fraction(const Progress& progress) {
  if (progress.rounds == 0) return 0;
  return std::min(
      1.0, static_cast<double>(progress.rounds_committed) / static_cast<double>(progress.rounds));
}

std::string Bar(double fraction, size_t width) {
  const auto full = static_cast<size_t>(fraction * static_cast<double>(width));
  return absl::StrCat("[", std::string(full, '#'), std::string(width - full, '.'), "]");
}

std::string Rate(const Progress& progress, const std::string& samples_name) {
  return absl::StrFormat("%.0f %s/s", progress.samples_per_second, samples_name);
}

size_t TerminalWidth() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

}  // namespace

absl::Duration Progress::Remaining() const {
  if (rounds_committed == 0 || rounds_committed > rounds) return absl::InfiniteDuration();
  return elapsed *
         (static_cast<double>(rounds - rounds_committed) / static_cast<double>(rounds_committed));
}

std::vector<std::string> RenderProgress(const Progress& progress, const std::string& samples_name,
                                        size_t width) {
  std::vector<std::string> lines = {progress.phase};
  if (progress.rounds_committed > 0) {
    const double fraction = Fraction(progress);
    lines.push_back(
        absl::StrFormat("%s %3.0f %%  round %d/%d",
                        Bar(fraction, std::min(kMaxBar, std::max<size_t>(width, 45) - 35)),
                        100 * fraction, progress.rounds_committed, progress.rounds));
    lines.push_back(absl::StrFormat("loss %s   %s   elapsed %s   remaining %s",
                                    FormatLoss(progress.loss), Rate(progress, samples_name),
                                    FormatElapsed(progress.elapsed),
                                    FormatElapsed(progress.Remaining())));
  }
  if (!progress.sites.empty()) {
    std::vector<std::vector<std::string>> rows = {{"site", "up", "down", "communication", "state"}};
    for (const SiteProgress& site : progress.sites) {
      rows.push_back({site.label, FormatBytes(static_cast<double>(site.bytes_up)),
                      FormatBytes(static_cast<double>(site.bytes_down)),
                      FormatPercent(site.communication_ratio), site.state});
    }
    const std::string table = FormatColumns(rows);
    for (const absl::string_view row : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
      lines.emplace_back(row);
    }
  }
  for (std::string& line : lines) line.resize(std::min(line.size(), width));
  return lines;
}

std::string RenderProgressLine(const Progress& progress, const std::string& samples_name) {
  std::string line = progress.phase;
  if (progress.rounds_committed > 0) {
    absl::StrAppend(
        &line, absl::StrFormat(" %d/%d (%.0f %%), loss %s, %s, %s left", progress.rounds_committed,
                               progress.rounds, 100 * Fraction(progress), FormatLoss(progress.loss),
                               Rate(progress, samples_name), FormatElapsed(progress.Remaining())));
    for (const SiteProgress& site : progress.sites) {
      absl::StrAppend(&line, "; ", site.label, " up ",
                      FormatBytes(static_cast<double>(site.bytes_up)), " down ",
                      FormatBytes(static_cast<double>(site.bytes_down)), " communication ",
                      FormatPercent(site.communication_ratio));
    }
  }
  return line;
}

void LiveView::Show(const Progress& progress, absl::Time now) {
  if (terminal_) {
    Erase();
    // One column short: a line that fills the width may wrap and break the count of lines.
    const std::vector<std::string> lines =
        RenderProgress(progress, samples_name_, TerminalWidth() - 1);
    out_ << absl::StrJoin(lines, "\n") << std::endl;
    lines_shown_ = lines.size();
    return;
  }
  if (progress.phase == phase_ && now - last_line_ < kPlainInterval) return;
  phase_ = progress.phase;
  last_line_ = now;
  out_ << RenderProgressLine(progress, samples_name_) << std::endl;
}

void LiveView::Note(const std::string& line) {
  Erase();
  out_ << line << std::endl;
}

void LiveView::Release() { lines_shown_ = 0; }

void LiveView::Erase() {
  // Up to the first line shown, then clear to the end of the screen.
  if (lines_shown_ > 0) out_ << "\x1b[" << lines_shown_ << "F\x1b[J";
  lines_shown_ = 0;
}

}  // namespace isthmus
