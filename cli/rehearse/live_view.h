// How a rehearsal goes, while it goes.
#ifndef ISTHMUS_CLI_REHEARSE_LIVE_VIEW_H_
#define ISTHMUS_CLI_REHEARSE_LIVE_VIEW_H_

#include <absl/time/time.h>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace isthmus {

struct SiteProgress {
  std::string label;
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  double communication_ratio = 0;
  std::string state;
};

struct Progress {
  std::string phase;  // "waiting for 2 groups: 1 ready", "training" ...
  uint64_t rounds_committed = 0;
  uint64_t rounds = 0;
  double loss = 0;
  double samples_per_second = 0;
  absl::Duration elapsed;
  std::vector<SiteProgress> sites;

  // From the pace so far; infinite before the first round.
  absl::Duration Remaining() const;
};

// Pure. Lines of at most `width` characters for a terminal: a bar, figures, a row per site.
// `samples_name` is what the job calls its samples: "tokens" or "samples".
std::vector<std::string> RenderProgress(const Progress& progress, const std::string& samples_name,
                                        size_t width);
// The same as one plain line.
std::string RenderProgressLine(const Progress& progress, const std::string& samples_name);

// Shows progress on a stream: redrawn in place on a terminal, a line every 5 s and at each new
// phase elsewhere. Single-threaded.
class LiveView {
 public:
  LiveView(std::ostream* out, bool terminal, std::string samples_name)
      : out_(*out), terminal_(terminal), samples_name_(std::move(samples_name)) {}

  void Show(const Progress& progress, absl::Time now);
  // A line that stays.
  void Note(const std::string& line);
  // Leaves what is shown on the terminal and starts below it.
  void Release();

 private:
  void Erase();

  std::ostream& out_;
  const bool terminal_;
  const std::string samples_name_;
  size_t lines_shown_ = 0;
  std::string phase_;
  absl::Time last_line_ = absl::InfinitePast();
};

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_LIVE_VIEW_H_
