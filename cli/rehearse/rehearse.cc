#include "cli/rehearse/rehearse.h"

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

#include "cli/base/exit_codes.h"
#include "cli/link/forwarder.h"
#include "cli/rehearse/deployment.h"
#include "cli/rehearse/live_view.h"
#include "cli/rehearse/plan.h"
#include "cli/rehearse/summary.h"
#include "common/base/status_macros.h"
#include "common/kernels/simd.h"
#include "common/program/output_file.h"

namespace isthmus {
namespace {

namespace fs = std::filesystem;

// A private directory that goes away with us.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> Create() {
    std::error_code error;
    std::string pattern = (fs::temp_directory_path(error) / "isthmus-XXXXXX").string();
    if (error || mkdtemp(pattern.data()) == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot create a directory like ", pattern));
    }
    return TemporaryDirectory(pattern);
  }
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

absl::StatusOr<std::string> FindPrograms(const RehearseOptions& options) {
  std::error_code error;
  const std::string bin_dir = options.bin_dir.empty()
                                  ? fs::read_symlink("/proc/self/exe", error).parent_path().string()
                                  : options.bin_dir;
  for (const char* program : {"isthmus-coordinator", "isthmus-worker", "isthmus-lm"}) {
    if (program == std::string("isthmus-lm") && !options.command.empty()) continue;
    const std::string path = absl::StrCat(bin_dir, "/", program);
    if (access(path.c_str(), X_OK) != 0) {
      if (program == std::string("isthmus-lm")) {
        return absl::NotFoundError(absl::StrCat(
            "expected a job after --, as in: isthmus rehearse -- python -m isthmus.demo; the "
            "example job ",
            path, " is not part of this installation"));
      }
      return absl::NotFoundError(
          absl::StrCat("expected the program ", path, "; --bin-dir says where it is"));
    }
  }
  return bin_dir;
}

// What can be known to be wrong on this host before anything starts, beyond the flags themselves.
absl::Status CheckHost(const RehearseOptions& options) {
  for (const std::string& name : options.simd) {
    if (name.empty()) continue;  // the processor's best
    if (const absl::Status status = KernelsNamed(name).status(); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--simd: ", status.message()));
    }
  }
  std::error_code error;
  if (options.command.empty() && !fs::exists(options.text, error)) {
    return absl::NotFoundError(
        absl::StrCat("--text: expected a file or directory, got '", options.text, "'"));
  }
  if (const absl::Status status = CheckOutputFile(options.json_path);
      !options.json_path.empty() && !status.ok()) {
    return absl::NotFoundError(absl::StrCat("--json: ", status.message()));
  }
  if (!options.keep_dir.empty() && !fs::is_directory(options.keep_dir, error) &&
      !fs::create_directories(options.keep_dir, error)) {
    return absl::NotFoundError(
        absl::StrCat("--keep: expected a directory, or a place to create "
                     "one, got '",
                     options.keep_dir, "'"));
  }
  return absl::OkStatus();
}

// This host's cores for each rank of all sites, unless the environment says how many.
int JobThreads(const RehearseOptions& options) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return 0;
  const int ranks = std::accumulate(options.ranks.begin(), options.ranks.end(), 0);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, ranks));
}

// Directories of one deployment, fresh: a port file or a report of another run would mislead.
absl::StatusOr<Places> MakePlaces(const std::string& bin_dir, const std::string& run_dir,
                                  const std::string& log_dir, int job_threads) {
  std::error_code error;
  for (const std::string& directory : {run_dir, log_dir}) {
    fs::create_directories(directory, error);
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("cannot create ", directory, ": ", error.message()));
    }
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(log_dir, error)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".log" || extension == ".json") fs::remove(entry.path(), error);
  }
  return Places{
      .bin_dir = bin_dir, .run_dir = run_dir, .log_dir = log_dir, .job_threads = job_threads};
}

class Rehearsal {
 public:
  Rehearsal(const RehearseOptions& options, Signals& signals, bool terminal, std::ostream& out,
            std::ostream& progress)
      : options_(options),
        signals_(signals),
        out_(out),
        progress_(progress),
        view_(&progress, terminal, options.command.empty() ? "tokens" : "samples") {}

  int Run() {
    if (const absl::Status status = CheckHost(options_); !status.ok()) {
      return Fail(status, kExitUsage);
    }
    const absl::StatusOr<std::string> bin_dir = FindPrograms(options_);
    if (!bin_dir.ok()) return Fail(bin_dir.status(), kExitFailure);
    const absl::StatusOr<TemporaryDirectory> temporary = TemporaryDirectory::Create();
    if (!temporary.ok()) return Fail(temporary.status(), kExitFailure);
    const std::string log_dir =
        options_.keep_dir.empty() ? temporary->path() + "/logs" : options_.keep_dir;

    const absl::StatusOr<Places> places =
        MakePlaces(*bin_dir, temporary->path() + "/main", log_dir, JobThreads(options_));
    if (!places.ok()) return Fail(places.status(), kExitFailure);
    const absl::StatusOr<DeploymentResult> main = Deploy(Plan::Main(options_, *places), "training");
    if (!main.ok()) return Fail(main.status(), kExitFailure);

    absl::StatusOr<DeploymentResult> comparison = absl::NotFoundError("not asked for");
    if (options_.compare_steps > 0) {
      const absl::StatusOr<Places> compare_places = MakePlaces(
          *bin_dir, temporary->path() + "/full", log_dir + "/full", JobThreads(options_));
      if (!compare_places.ok()) return Fail(compare_places.status(), kExitFailure);
      view_.Note(absl::StrCat("measuring scheme full for comparison, ", options_.compare_steps,
                              " rounds on the same links"));
      comparison = Deploy(Plan::Comparison(options_, *compare_places),
                          "measuring scheme full for comparison");
    }
    const int code = Report(Summarize(options_, *main, comparison.ok() ? &*comparison : nullptr));
    // The main run's results are worth reporting even where the comparison failed.
    if (options_.compare_steps > 0 && !comparison.ok()) {
      return Fail(comparison.status(), kExitFailure);
    }
    return code;
  }

 private:
  absl::StatusOr<DeploymentResult> Deploy(const Plan& plan, const std::string& phase) {
    Deployment deployment(&plan, phase, &signals_, &loop_, &view_);
    absl::StatusOr<DeploymentResult> result = deployment.Run();
    signal_ = deployment.signal();
    view_.Release();
    return result;
  }

  int Report(const Summary& summary) {
    out_ << "\n" << SummaryText(summary);
    if (!options_.keep_dir.empty()) out_ << "\nlogs and reports: " << options_.keep_dir << "\n";
    out_.flush();
    if (!options_.json_path.empty()) {
      const absl::Status written = WriteOutputFile(options_.json_path, SummaryJson(summary));
      if (!written.ok()) return Fail(written, kExitFailure);
    }
    if (summary.rounds_committed < summary.rounds) {
      return Fail(absl::AbortedError(absl::StrCat("the run ended after ", summary.rounds_committed,
                                                  " of ", summary.rounds, " rounds")),
                  kExitFailure);
    }
    if (!summary.hashes_equal && !summary.replicas_part) {
      return Fail(absl::DataLossError("the sites' states differ"), kExitHashesDiffer);
    }
    return kExitOk;
  }

  int Fail(const absl::Status& status, int code) {
    view_.Release();
    if (signal_ != 0) return Signals::ExitCode(signal_);
    progress_ << "isthmus rehearse: " << status.message() << std::endl;
    return code;
  }

  const RehearseOptions& options_;
  Signals& signals_;
  std::ostream& out_;
  std::ostream& progress_;
  LinkLoop loop_;
  LiveView view_;
  int signal_ = 0;
};

}  // namespace

int RunRehearse(const RehearseOptions& options, Signals& signals, bool terminal, std::ostream& out,
                std::ostream& progress) {
  return Rehearsal(options, signals, terminal, out, progress).Run();
}

}  // namespace isthmus
