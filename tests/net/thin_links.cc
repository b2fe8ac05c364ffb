#include "tests/net/thin_links.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>

#include "common/base/status_macros.h"
#include "tests/support/await_change.h"

namespace isthmus::net {
namespace {

constexpr int kPort = 29750;
constexpr absl::Duration kStartPatience = absl::Minutes(2);

std::string Address(int site, int host) { return absl::StrCat("10.77.", site + 1, ".", host); }

[[noreturn]] void GiveUp(const std::string& what, const std::string& log) {
  std::cerr << "gave up: " << what << "\n" << log << std::endl;
  std::exit(1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ThinLinks>> ThinLinks::Create(const Options& options) {
  ISTHMUS_ASSIGN_OR_RETURN(NetNamespace hub, NetNamespace::Create());
  std::unique_ptr<ThinLinks> links(new ThinLinks(std::move(hub)));
  for (int site = 0; site < options.sites; ++site) {
    ISTHMUS_ASSIGN_OR_RETURN(NetNamespace space, NetNamespace::Create());
    ISTHMUS_ASSIGN_OR_RETURN(UniqueFd hub_end,
                             links->hub_.OpenTun(absl::StrCat("wan", site), HubAddress(site)));
    ISTHMUS_ASSIGN_OR_RETURN(UniqueFd site_end, space.OpenTun("wan", Address(site, 2)));
    const uint64_t seed = options.seed + 2 * static_cast<uint64_t>(site);
    const auto lane = [&](double rate, uint64_t lane_seed) {
      return RelayLane::Options{.bits_per_second = rate,
                                .delay = options.link.delay,
                                .queue_bytes = options.queue_bytes,
                                .loss = options.loss,
                                .seed = lane_seed};
    };
    links->sites_.push_back(
        {std::move(space),
         std::make_unique<Relay>(std::move(hub_end), std::move(site_end),
                                 lane(options.link.up_bits_per_second, seed),
                                 lane(options.link.down_bits_per_second, seed + 1))});
  }
  return links;
}

std::string ThinLinks::HubAddress(int site) { return Address(site, 1); }

NetProgram::NetProgram(const NetNamespace& space, const std::vector<std::string>& argv,
                       std::string log_path)
    : name_(argv[0]), log_path_(std::move(log_path)) {
  const auto pid = space.Spawn(argv, log_path_);
  if (!pid.ok()) GiveUp(std::string(pid.status().message()), "");
  pid_ = *pid;
}

NetProgram::~NetProgram() {
  Signal(SIGKILL);
  if (!ended_) ::waitpid(pid_, &status_, 0);
}

void NetProgram::Signal(int signal) {
  if (!ended_) ::kill(pid_, signal);
}

bool NetProgram::Ended() {
  ended_ = ended_ || ::waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

bool NetProgram::AwaitUntil(absl::Duration patience, const std::function<bool()>& condition) {
  if (ended_) return condition();
  return AwaitChange(std::filesystem::path(log_path_).parent_path(), pid_, patience, condition);
}

int NetProgram::Await(absl::Duration patience) {
  if (!AwaitUntil(patience, [&] { return Ended(); })) GiveUp(name_ + " has not ended", Output());
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
}

std::string NetProgram::Output() const {
  std::ifstream file(log_path_);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> NetProgram::AwaitLines(size_t lines, absl::Duration patience) {
  std::vector<std::string> read;
  const auto enough = [&] {
    read = absl::StrSplit(Output(), '\n');
    read.pop_back();  // what has no line end yet
    return read.size() >= lines;
  };
  if (!AwaitUntil(patience, enough)) {
    GiveUp(absl::StrCat(name_, " has not written line ", lines), Output());
  }
  return read;
}

Deployment::Deployment(const ThinLinks& links, const std::string& folder, const Options& options)
    : links_(links), folder_(folder) {
  const auto start = [&](const NetNamespace& space, const std::vector<std::string>& argv,
                         const std::string& name) {
    programs_.push_back(
        std::make_unique<NetProgram>(space, argv, absl::StrCat(folder, "/", name, ".log")));
    return programs_.back().get();
  };
  std::vector<std::string> coordinator = {ISTHMUS_COORDINATOR,
                                          "--listen",
                                          absl::StrCat("0.0.0.0:", kPort),
                                          "--insecure",
                                          "--start-groups",
                                          absl::StrCat(options.sites),
                                          "--rounds",
                                          absl::StrCat(options.steps)};
  coordinator.insert(coordinator.end(), options.coordinator_flags.begin(),
                     options.coordinator_flags.end());
  start(links.hub(), coordinator, "coordinator");
  // Workers stand before jobs come: what a job then waits for is its own doing.
  const auto socket = [&](int site) { return absl::StrCat(folder, "/", site, ".sock"); };
  std::vector<NetProgram*> workers;
  for (int site = 0; site < options.sites; ++site) {
    workers.push_back(start(
        links.site(site),
        {ISTHMUS_WORKER, "--coordinator", absl::StrCat(ThinLinks::HubAddress(site), ":", kPort),
         "--group", absl::StrCat(site + 1), "--ranks", "cpu:1", "--threads", "1", "--socket",
         socket(site)},
        absl::StrCat("worker-", site)));
  }
  for (NetProgram* worker : workers) {
    if (!worker->AwaitUntil(kStartPatience, [&] {
          return absl::StrContains(worker->Output(), "registered as incarnation");
        })) {
      GiveUp("a worker is not registered", worker->Output());
    }
  }
  for (int site = 0; site < options.sites; ++site) {
    jobs_.push_back(
        start(links.site(site),
              {LINK_JOB, socket(site), absl::StrCat(site + 1),
               absl::StrCat(options.equal_start ? 1 : site + 1), absl::StrCat(options.parameters)},
              absl::StrCat("job-", site)));
  }
}

std::vector<std::string> Deployment::AwaitLine(size_t line, absl::Duration patience) {
  std::vector<std::string> said;
  for (NetProgram* job : jobs_) said.push_back(job->AwaitLines(line, patience)[line - 1]);
  return said;
}

std::vector<std::string> Deployment::AwaitAttached(absl::Duration patience) {
  return AwaitLine(1, patience);
}

std::string Deployment::Status() const {
  const std::string log = absl::StrCat(folder_, "/status.log");
  std::filesystem::remove(log);  // of the last time: programs append
  NetProgram status(
      links_.hub(),
      {ISTHMUS, "status", "--json", "--coordinator", absl::StrCat("127.0.0.1:", kPort)},
      log);
  if (const int code = status.Await(kStartPatience); code != 0) {
    GiveUp(absl::StrCat("isthmus status ended with ", code), status.Output());
  }
  return status.Output();
}

std::vector<std::string> Deployment::AwaitDone(absl::Duration patience) {
  return AwaitLine(2, patience);
}

}  // namespace isthmus::net
