// What a rehearsal is asked to do: flags as text, and what they mean once checked.
#ifndef ISTHMUS_CLI_REHEARSE_OPTIONS_H_
#define ISTHMUS_CLI_REHEARSE_OPTIONS_H_

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/link/link_spec.h"
#include "cli/link/link_trace.h"
#include "common/program/run_flags.h"
#include "common/run/run_spec.h"

namespace isthmus {

// The jobs' learning rate unless told otherwise: what docs/schemes.md found best.
double DefaultLearningRate(Scheme scheme);

// Fields of the run spec without a flag of their own here: --steps, --sites say the first two, and
// --seed is that of the jobs.
inline constexpr std::string_view kDecidedFields[] = {"rounds", "start_groups", "seed"};

// Something that goes wrong on purpose.
struct Fault {
  enum class Kind { kKill, kCut, kFlip };
  Kind kind = Kind::kKill;
  int site = 1;           // numbered from 1, as groups are
  uint64_t round = 1;     // when this round is open; kFlip: once it is applied
  absl::Duration outage;  // kCut: until the link heals

  friend bool operator==(const Fault&, const Fault&) = default;
};

// The flags as given, so that checking them is one pure function. Empty: not given.
struct RehearseFlags {
  std::string sites;
  std::string ranks = "2";
  std::string steps = "300";
  std::string link = "10mbit/40ms";
  std::string link_trace;
  std::string text;
  GivenFields run;  // but kDecidedFields
  std::string simd;
  std::string devices = "cpu";
  std::string lr;
  std::string own_optimizer;
  std::string batch = "8";
  std::string seed = "1";
  std::string deadline = "off";
  std::string pace = "off";
  std::string schedule;
  std::string compare_steps = "5";
  std::vector<std::string> faults;
  std::string json;
  std::string keep;
  std::string lm_args;
  std::string bin_dir;
  std::vector<std::string> command;  // what follows "--"
};

struct RehearseOptions {
  std::vector<int> ranks;       // per site
  std::vector<LinkSpec> links;  // per site; where there is a trace, unless it is "-", its first
  std::vector<std::string> link_traces;  // per site: path of a trace, or "-"; empty: none has one
  std::vector<std::optional<LinkTrace>> traces;  // what they say, once read
  std::vector<std::string> simd;     // per site: ISTHMUS_SIMD of the worker; empty: its best
  std::vector<std::string> devices;  // per site: "cpu", "cuda" or "host-gpu"
  RunSpec run;
  std::string text;
  double lr = 0;
  std::string own_optimizer;  // of isthmus-lm, with scheme local; else empty
  int batch = 0;
  uint64_t seed = 0;
  std::optional<absl::Duration> deadline;  // of a bucket; nullopt: off
  std::optional<double> pace;              // the coordinator's --pace; nullopt: off
  std::string schedule;                    // the coordinator's --schedule; empty: none
  uint64_t compare_steps = 0;              // of scheme full; 0: no comparison
  std::vector<Fault> faults;
  std::string json_path;
  std::string keep_dir;  // empty: a temporary directory
  std::string bin_dir;   // empty: our own
  std::vector<std::string> lm_args;
  std::vector<std::string> command;  // empty: isthmus-lm

  bool formats_change() const { return pace.has_value() || !schedule.empty(); }
  // Of every rank, where jobs count them.
  uint64_t steps() const { return run.rounds * run.format.every.steps; }
  int sites() const { return static_cast<int>(ranks.size()); }
};

// INVALID_ARGUMENT, naming the flag, what it expects and what it got. Does not look at the disk.
absl::StatusOr<RehearseOptions> ParseRehearseFlags(const RehearseFlags& flags);

// Reads the traces, and has links begin as they do. Errors: NOT_FOUND, or INVALID_ARGUMENT naming
// file and line.
absl::Status ReadLinkTraces(RehearseOptions* options);

// "kill:SITE@ROUND", "cut:SITE@ROUND/SECONDS" or "flip:SITE@ROUND".
absl::StatusOr<Fault> ParseFault(absl::string_view text);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_OPTIONS_H_
