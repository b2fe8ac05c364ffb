#include "cli/rehearse/plan.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <numeric>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

constexpr int kSampleBytes = 300;
// A worker killed by a fault is back within seconds; a job tries for longer than that.
constexpr int kReattachAttempts = 20;

}  // namespace

Plan::Plan(RehearseOptions options, Places places, int sample_bytes)
    : options_(std::move(options)), places_(std::move(places)), sample_bytes_(sample_bytes) {}

Plan Plan::Main(const RehearseOptions& options, Places places) {
  return Plan(options, std::move(places), kSampleBytes);
}

Plan Plan::Comparison(const RehearseOptions& options, Places places) {
  RehearseOptions full = options;
  full.run = DefaultRunSpec(Scheme::kFull);
  full.run.rounds = options.compare_steps;
  full.run.start_groups = options.run.start_groups;
  full.run.audit_rounds = options.run.audit_rounds;
  full.lr = DefaultLearningRate(Scheme::kFull);
  full.own_optimizer.clear();
  full.pace.reset();
  full.schedule.clear();
  full.faults.clear();
  return Plan(std::move(full), std::move(places), 0);
}

std::string Plan::WorkerName(int site) { return absl::StrCat("worker-", site); }

std::string Plan::JobName(int site, int rank) { return absl::StrCat("job-", site, "-", rank); }

std::string Plan::LogPath(const std::string& name) const {
  return absl::StrCat(places_.log_dir, "/", name, ".log");
}

std::string Plan::PortFile() const { return absl::StrCat(places_.run_dir, "/coordinator.port"); }

std::string Plan::SocketPath(int site) const {
  return absl::StrCat(places_.run_dir, "/", WorkerName(site), ".sock");
}

std::string Plan::ReportPath(int site, int rank) const {
  return absl::StrCat(places_.log_dir, "/", JobName(site, rank), ".json");
}

Command Plan::Coordinator() const {
  std::vector<std::string> argv = {
      absl::StrCat(places_.bin_dir, "/isthmus-coordinator"),
      "--listen",
      "127.0.0.1:0",
      "--port-file",
      PortFile(),
      "--deadline",
      options_.deadline ? absl::FormatDuration(*options_.deadline) : "off",
  };
  if (options_.pace) argv.insert(argv.end(), {"--pace", absl::StrCat(*options_.pace)});
  if (!options_.schedule.empty()) argv.insert(argv.end(), {"--schedule", options_.schedule});
  const std::vector<std::string> run = RunFlags(options_.run);
  argv.insert(argv.end(), run.begin(), run.end());
  return {.name = CoordinatorName(),
          .argv = std::move(argv),
          .environment = {},
          .log_path = LogPath(CoordinatorName())};
}

namespace {

// What --ranks of isthmus-worker says; on GPUs one each, from the first.
std::string RanksOf(const std::string& device, int count) {
  if (device != "cuda") return absl::StrCat(device, ":", count);
  std::vector<int> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return absl::StrCat("cuda:", absl::StrJoin(indices, ","));
}

}  // namespace

Command Plan::Worker(int site, const std::string& address) const {
  const std::string name = WorkerName(site);
  std::vector<std::string> argv = {
      absl::StrCat(places_.bin_dir, "/isthmus-worker"),
      "--coordinator",
      address,
      "--group",
      absl::StrCat(site),
      "--label",
      absl::StrCat("site-", site),
      "--ranks",
      RanksOf(options_.devices[static_cast<size_t>(site - 1)], ranks(site)),
      "--socket",
      SocketPath(site)};
  for (const Fault& fault : options_.faults) {
    if (fault.kind != Fault::Kind::kFlip || fault.site != site) continue;
    argv.insert(argv.end(), {"--flip-bit-at", absl::StrCat(fault.round)});
  }
  return {.name = name,
          .argv = std::move(argv),
          .environment = {{"ISTHMUS_SIMD", options_.simd[static_cast<size_t>(site - 1)]}},
          .log_path = LogPath(name)};
}

Command Plan::Job(int site, int rank, uint16_t meeting_port) const {
  const std::string name = JobName(site, rank);
  std::vector<std::string> argv = options_.command;
  if (argv.empty()) {
    argv = {absl::StrCat(places_.bin_dir, "/isthmus-lm"),
            "--text",
            options_.text,
            "--steps",
            "0",
            "--seed",
            absl::StrCat(options_.seed),
            "--lr",
            absl::StrCat(options_.lr),
            "--batch",
            absl::StrCat(options_.batch),
            "--report",
            ReportPath(site, rank),
            "--sample",
            absl::StrCat(sample_bytes_),
            "--reattach",
            absl::StrCat(kReattachAttempts),
            "--quiet"};
    if (!options_.own_optimizer.empty()) {
      argv.insert(argv.end(), {"--own-optimizer", options_.own_optimizer});
    }
    argv.insert(argv.end(), options_.lm_args.begin(), options_.lm_args.end());
  }
  Command job = {.name = name,
                 .argv = std::move(argv),
                 .environment = {{"ISTHMUS_SOCKET", SocketPath(site)},
                                 {"LOCAL_RANK", absl::StrCat(rank)},
                                 {"LOCAL_WORLD_SIZE", absl::StrCat(ranks(site))},
                                 {"MASTER_ADDR", "127.0.0.1"},
                                 {"MASTER_PORT", absl::StrCat(meeting_port)},
                                 {"RANK", absl::StrCat(rank)},
                                 {"WORLD_SIZE", absl::StrCat(ranks(site))}},
                 .log_path = LogPath(name)};
  if (!options_.command.empty() && places_.job_threads > 0) {
    job.environment.emplace_back("OMP_NUM_THREADS", absl::StrCat(places_.job_threads));
  }
  return job;
}

}  // namespace isthmus
