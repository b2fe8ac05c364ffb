// Scenario files: what happens to a coordinator, line by line, and what it answers. README.md
// describes the format.
#ifndef ISTHMUS_TESTS_SERVER_CORE_SCENARIO_H_
#define ISTHMUS_TESTS_SERVER_CORE_SCENARIO_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/core/coordinator.h"

namespace isthmus {

// The words of one event: positional ones, then key=value.
class EventWords {
 public:
  explicit EventWords(const std::string& line);
  const std::string& name() const { return name_; }
  // The positional word `index` as a number, or 0 and an error.
  uint64_t Number(size_t index);
  // The positional words from `index` on.
  std::string Rest(size_t index) const;
  std::string Take(const std::string& key, const std::string& otherwise);
  uint64_t TakeNumber(const std::string& key, uint64_t otherwise);
  float TakeFloat(const std::string& key, float otherwise);
  absl::Duration TakeDuration(const std::string& key, absl::Duration otherwise);
  // What was wrong so far; a key that nobody took is wrong too.
  absl::Status Check() const;

 private:
  void Fail(const std::string& text);
  std::string name_;
  std::vector<std::string> positional_;
  std::map<std::string, std::string> named_;
  std::string error_;
};

// One coordinator, and what the edge would remember about it: streams, incarnations, time.
class Scenario {
 public:
  // Performs the event in `line`; what followed, one line each. Errors: INVALID_ARGUMENT for a
  // line that is no event.
  absl::StatusOr<std::vector<std::string>> Perform(const std::string& line);

 private:
  struct Group {
    uint64_t incarnation = 0;
    uint64_t change = 0;
    StreamId stream;
  };
  absl::Status Control(EventWords& words);
  absl::Status Data(EventWords& words);
  absl::Status Answer(EventWords& words);
  void Configure(EventWords& words);
  void Measured(EventWords& words);
  void Register(EventWords& words);
  void Ready(EventWords& words);
  void Open(EventWords& words);
  void Part(EventWords& words);
  void Audit(EventWords& words);
  void Wait(EventWords& words);
  void Restart();
  void ReportStatus();
  Member MemberOf(EventWords& words);
  StreamId StreamOf(EventWords& words);
  void Say(const std::string& text) { lines_.push_back(text); }
  void SayIfError(const absl::Status& status);

  std::unique_ptr<Coordinator> core_;
  uint32_t buckets_ = 1;
  absl::Time now_ = absl::UnixEpoch();
  StreamId last_stream_;
  std::map<uint64_t, Group> groups_;
  std::vector<std::string> lines_;  // of the event being performed
  Actions actions_;
};

// `text` with every expectation replaced by what really follows. Errors: INVALID_ARGUMENT naming
// the line.
absl::StatusOr<std::string> Rewrite(const std::string& text);

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_SERVER_CORE_SCENARIO_H_
