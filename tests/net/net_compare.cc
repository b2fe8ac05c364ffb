// How near Isthmus comes to bare TCP over the same two hops: a site's join against a copy of as
// many bytes, a round against an exchange of as many. Prints one JSON object. Needs root.
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "common/base/status_macros.h"
#include "tests/net/tcp_copy.h"
#include "tests/net/thin_links.h"

namespace isthmus::net {
namespace {

struct Flags {
  std::string link = "200mbit/100ms";
  double loss = 0;
  uint64_t parameters = 12'800'000;
  uint64_t steps = 12;
  std::vector<std::string> run;
};

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The steps or rounds once TCP knows the link.
std::vector<double> Settled(std::vector<double> values) {
  values.erase(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 3));
  return values;
}

// Packets that found a queue full: some are TCP's way to learn the rate.
uint64_t Dropped(const ThinLinks& links) {
  uint64_t dropped = 0;
  for (int site = 0; site < 2; ++site) {
    dropped += links.relay(site).up().dropped + links.relay(site).down().dropped;
  }
  return dropped;
}

// What a deployment's second site saw.
struct Seen {
  double attach_seconds = 0;
  double step_seconds = 0;
  uint64_t up = 0, down = 0;  // bytes of a step
  uint64_t dropped = 0;
  // By the run's own meters: of the site that gave its parameters, and of the one that got them.
  nlohmann::json measured_up, measured_down;
  double exchange_seconds = 0;  // of the site that is longer at it, as its worker says
};

constexpr absl::Duration kPatience = absl::Minutes(30);

// Over fresh links, as each of these: TCP remembers what it learned of a peer.
absl::StatusOr<Seen> Deploy(const Flags& flags, const ThinLinks::Options& options,
                            bool equal_start) {
  char folder[] = "/tmp/isthmus-net-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return absl::InternalError("no folder in /tmp");
  ISTHMUS_ASSIGN_OR_RETURN(const auto links, ThinLinks::Create(options));
  Seen seen;
  {
    Deployment run(*links, folder,
                   {.parameters = flags.parameters,
                    .steps = flags.steps,
                    .equal_start = equal_start,
                    .coordinator_flags = flags.run});
    const auto attached = nlohmann::json::parse(run.AwaitAttached(kPatience)[1]);
    const uint64_t up_before = links->relay(0).up().bytes;
    const uint64_t down_before = links->relay(1).down().bytes;
    const auto done = nlohmann::json::parse(run.AwaitDone(kPatience)[1]);
    seen.attach_seconds = attached["attach_seconds"];
    seen.step_seconds = Median(Settled(done["step_seconds"].get<std::vector<double>>()));
    seen.up = (links->relay(0).up().bytes - up_before) / flags.steps;
    seen.down = (links->relay(1).down().bytes - down_before) / flags.steps;
    seen.dropped = Dropped(*links);
    const auto status = nlohmann::json::parse(run.Status());
    seen.measured_up = status["groups"][0]["up"];
    seen.measured_down = status["groups"][1]["heartbeat"]["down"];
    for (const auto& group : status["groups"]) {
      seen.exchange_seconds =
          std::max(seen.exchange_seconds, group["heartbeat"].value("exchange_seconds", 0.0));
    }
  }
  std::filesystem::remove_all(folder);
  return seen;
}

absl::Status Compare(const Flags& flags) {
  ISTHMUS_ASSIGN_OR_RETURN(const LinkSpec spec, ParseLinkSpec(flags.link));
  const ThinLinks::Options options{.link = spec, .sites = 2, .loss = flags.loss};
  const uint64_t bytes = flags.parameters * sizeof(float);
  ISTHMUS_ASSIGN_OR_RETURN(const Seen ours, Deploy(flags, options, false));
  ISTHMUS_ASSIGN_OR_RETURN(const Seen equal, Deploy(flags, options, true));
  ISTHMUS_ASSIGN_OR_RETURN(const auto links, ThinLinks::Create(options));
  ISTHMUS_ASSIGN_OR_RETURN(const absl::Duration copy, CopyThroughHub(*links, bytes));
  ISTHMUS_ASSIGN_OR_RETURN(const std::vector<absl::Duration> exchange,
                           Exchange(*links, 2, ours.up, ours.down, static_cast<int>(flags.steps)));
  // What a link of that rate and delay takes at the least, if both ways are used at once.
  const double ideal = std::max(8.0 * static_cast<double>(ours.up) / spec.up_bits_per_second,
                                8.0 * static_cast<double>(ours.down) / spec.down_bits_per_second) +
                       2 * absl::ToDoubleSeconds(spec.delay);
  std::vector<double> seconds;
  for (const absl::Duration d : exchange) seconds.push_back(absl::ToDoubleSeconds(d));
  const double tcp_copy = absl::ToDoubleSeconds(copy);
  const double tcp_exchange = Median(Settled(seconds));
  const double join = ours.attach_seconds - equal.attach_seconds;
  const nlohmann::ordered_json report = {
      {"link", flags.link},
      {"loss", flags.loss},
      {"attach_seconds", ours.attach_seconds},
      {"attach_seconds_equal_start", equal.attach_seconds},
      {"join_bytes", bytes},
      {"join_seconds", join},
      {"measured_up", ours.measured_up},
      {"measured_down", ours.measured_down},
      {"tcp_copy_bytes_per_second", static_cast<double>(bytes) / tcp_copy},
      {"step_up_bytes", ours.up},
      {"step_down_bytes", ours.down},
      {"step_seconds", ours.step_seconds},
      {"exchange_seconds", ours.exchange_seconds},
      {"ideal_seconds", ideal},
      {"dropped_packets", ours.dropped},
      {"tcp_copy_seconds", tcp_copy},
      {"tcp_exchange_seconds", tcp_exchange},
      {"tcp_dropped_packets", Dropped(*links)},
      {"attach_ratio", ours.attach_seconds / tcp_copy},
      {"join_ratio", join / tcp_copy},
      {"step_ratio", ours.step_seconds / tcp_exchange},
      {"exchange_to_ideal", ours.exchange_seconds / ideal}};
  std::cout << report.dump(1) << std::endl;
  return absl::OkStatus();
}

}  // namespace
}  // namespace isthmus::net

int main(int argc, char** argv) {
  isthmus::net::Flags flags;
  CLI::App app(
      "Times a join and rounds of two sites over thin links of real TCP, and bare TCP over the "
      "same.",
      "net_compare");
  app.add_option("--link", flags.link, "Of each site: 10mbit/40ms, or 10mbit:2mbit/40ms")
      ->capture_default_str();
  app.add_option("--loss", flags.loss, "Share of packets that is lost")
      ->check(CLI::Range(0.0, 0.5))
      ->capture_default_str();
  app.add_option("--parameters", flags.parameters, "Of the model")
      ->check(CLI::Range(uint64_t{4096}, uint64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--steps", flags.steps, "Rounds")
      ->check(CLI::Range(uint64_t{1}, uint64_t{10000}))
      ->capture_default_str();
  app.add_option("run", flags.run, "Flags for isthmus-coordinator, behind --");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = isthmus::net::Compare(flags);
  if (status.ok()) return 0;
  std::cerr << "net_compare: " << status.message() << std::endl;
  return 1;
}
