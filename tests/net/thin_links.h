// A star of thin links: a hub and sites, each a network namespace of its own, joined by real TCP/IP
// over relays. What the sites' programs do with TCP is what they would do over such a link: slow
// start, losses and full queues included.
#ifndef ISTHMUS_TESTS_NET_THIN_LINKS_H_
#define ISTHMUS_TESTS_NET_THIN_LINKS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/link/link_spec.h"
#include "tests/net/net_namespace.h"
#include "tests/net/relay.h"

namespace isthmus::net {

// One thread makes it, starts programs and outlives them.
class ThinLinks {
 public:
  struct Options {
    LinkSpec link;  // of every site to the hub
    int sites = 2;
    int64_t queue_bytes = 0;  // as RelayLane
    double loss = 0;
    uint64_t seed = 1;
  };
  static absl::StatusOr<std::unique_ptr<ThinLinks>> Create(const Options& options);

  const NetNamespace& hub() const { return hub_; }
  const NetNamespace& site(int site) const { return sites_[static_cast<size_t>(site)].space; }
  const Relay& relay(int site) const { return *sites_[static_cast<size_t>(site)].relay; }
  // The hub, as `site` knows it.
  static std::string HubAddress(int site);

 private:
  struct Site {
    NetNamespace space;
    std::unique_ptr<Relay> relay;
  };
  explicit ThinLinks(NetNamespace hub) : hub_(std::move(hub)) {}
  NetNamespace hub_;
  std::vector<Site> sites_;
};

// A program in a namespace; killed with its owner.
class NetProgram {
 public:
  // Ends this program, saying why, if it cannot be started.
  NetProgram(const NetNamespace& space, const std::vector<std::string>& argv, std::string log_path);
  ~NetProgram();
  NetProgram(const NetProgram&) = delete;
  void Signal(int signal);
  // Whether `condition`, of this program and of what is in the folder of its log, comes to hold
  // before it ends and within `patience`.
  bool AwaitUntil(absl::Duration patience, const std::function<bool()>& condition);
  // Exit code, or -signal; ends this program, with the child's last words, after `patience`.
  int Await(absl::Duration patience);
  // The output so far.
  std::string Output() const;
  // Waits for `lines` whole lines of output.
  std::vector<std::string> AwaitLines(size_t lines, absl::Duration patience);

 private:
  bool Ended();
  const std::string name_;
  const std::string log_path_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// A coordinator at the hub, and at every site a worker and the job tests/net/link_job.cc, with
// files in `folder`. `coordinator_flags` say what run it is.
class Deployment {
 public:
  struct Options {
    int sites = 2;
    uint64_t parameters = 0;
    uint64_t steps = 0;
    bool equal_start = false;  // all sites begin with the same parameters: none has to be sent any
    std::vector<std::string> coordinator_flags;
  };
  Deployment(const ThinLinks& links, const std::string& folder, const Options& options);
  // Of each site's job: what it printed when it had attached, and when it was done.
  std::vector<std::string> AwaitAttached(absl::Duration patience);
  std::vector<std::string> AwaitDone(absl::Duration patience);
  // What `isthmus status --json` says of the run, at the hub.
  std::string Status() const;

 private:
  const ThinLinks& links_;
  const std::string folder_;
  std::vector<std::string> AwaitLine(size_t line, absl::Duration patience);
  std::vector<std::unique_ptr<NetProgram>> programs_;
  std::vector<NetProgram*> jobs_;  // by site
};

}  // namespace isthmus::net

#endif  // ISTHMUS_TESTS_NET_THIN_LINKS_H_
