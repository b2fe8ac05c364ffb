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

int Fail(const absl::Status& status) {
  std::cerr << "net_compare: " << status.message() << std::endl;
  return 1;
}

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

int Compare(const Flags& flags) {
  const auto spec = ParseLinkSpec(flags.link);
  if (!spec.ok()) return Fail(spec.status());
  const ThinLinks::Options options{.link = *spec, .sites = 2, .loss = flags.loss};
  char folder[] = "/tmp/isthmus-net-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return Fail(absl::InternalError("no folder in /tmp"));
  constexpr absl::Duration kPatience = absl::Minutes(30);
  const uint64_t bytes = flags.parameters * sizeof(float);
  nlohmann::ordered_json report = {
      {"link", flags.link}, {"loss", flags.loss}, {"join_bytes", bytes}};
  uint64_t up = 0, down = 0;
  {
    // Fresh links each time: TCP remembers what it learned of a peer.
    const auto links = ThinLinks::Create(options);
    if (!links.ok()) return Fail(links.status());
    Deployment run(**links, folder, 2, flags.parameters, flags.steps, flags.run);
    const auto attached = nlohmann::json::parse(run.AwaitAttached(kPatience)[1]);
    const uint64_t up_before = (*links)->relay(0).up().bytes;
    const uint64_t down_before = (*links)->relay(1).down().bytes;
    const auto done = nlohmann::json::parse(run.AwaitDone(kPatience)[1]);
    up = ((*links)->relay(0).up().bytes - up_before) / flags.steps;
    down = ((*links)->relay(1).down().bytes - down_before) / flags.steps;
    report["join_seconds"] = attached["attach_seconds"];
    report["step_up_bytes"] = up;
    report["step_down_bytes"] = down;
    report["step_seconds"] = Median(Settled(done["step_seconds"].get<std::vector<double>>()));
    report["dropped_packets"] = Dropped(**links);
  }
  std::filesystem::remove_all(folder);
  const auto links = ThinLinks::Create(options);
  if (!links.ok()) return Fail(links.status());
  const auto copy = CopyThroughHub(**links, bytes);
  if (!copy.ok()) return Fail(copy.status());
  const auto exchange = Exchange(**links, 2, up, down, static_cast<int>(flags.steps));
  if (!exchange.ok()) return Fail(exchange.status());
  std::vector<double> seconds;
  for (const absl::Duration d : *exchange) seconds.push_back(absl::ToDoubleSeconds(d));
  report["tcp_copy_seconds"] = absl::ToDoubleSeconds(*copy);
  report["tcp_exchange_seconds"] = Median(Settled(seconds));
  report["tcp_dropped_packets"] = Dropped(**links);
  const auto ratio = [&](const char* ours, const char* tcp) {
    return report[ours].get<double>() / report[tcp].get<double>();
  };
  report["join_ratio"] = ratio("join_seconds", "tcp_copy_seconds");
  report["step_ratio"] = ratio("step_seconds", "tcp_exchange_seconds");
  std::cout << report.dump(1) << std::endl;
  return 0;
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
  return isthmus::net::Compare(flags);
}
