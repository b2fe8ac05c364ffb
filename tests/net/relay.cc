#include "tests/net/relay.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/clock.h"

namespace isthmus::net {
namespace {

// Packets taken from one end before the other gets its turn, and before what is due is delivered.
constexpr int kPacketsPerTurn = 64;

void ReadInto(const UniqueFd& from, RelayLane& lane, absl::Time now) {
  char packet[1 << 16];
  for (int i = 0; i < kPacketsPerTurn; ++i) {
    const ssize_t size = ::read(from.get(), packet, sizeof(packet));
    if (size <= 0) return;
    lane.Offer(std::string(packet, static_cast<size_t>(size)), now);
  }
}

void Deliver(RelayLane& lane, const UniqueFd& to, absl::Time now) {
  // A packet that the device will not have is lost, as on any wire.
  while (const auto packet = lane.Take(now)) {
    if (::write(to.get(), packet->data(), packet->size()) < 0) continue;
  }
}

}  // namespace

Relay::Relay(UniqueFd hub, UniqueFd site, const RelayLane::Options& up,
             const RelayLane::Options& down)
    : hub_(std::move(hub)),
      site_(std::move(site)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      up_(up),
      down_(down),
      thread_([this] { Run(); }) {}

Relay::~Relay() {
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

RelayLane::Counters Relay::up() const {
  MutexLock lock(&mu_);
  return up_.counters();
}

RelayLane::Counters Relay::down() const {
  MutexLock lock(&mu_);
  return down_.counters();
}

absl::Time Relay::Turn() {
  MutexLock lock(&mu_);
  const absl::Time now = Clock::Real().Now();
  ReadInto(hub_, down_, now);
  ReadInto(site_, up_, now);
  Deliver(down_, site_, now);
  Deliver(up_, hub_, now);
  return std::min(up_.NextDue(), down_.NextDue());
}

void Relay::Run() {
  // Before the programs at its ends: how fast they can be is no property of the link.
  ::setpriority(PRIO_PROCESS, 0, -10);  // of this thread alone
  ::prctl(PR_SET_TIMERSLACK, 1000);  // nanoseconds: packets are due by the tenth of a millisecond
  pollfd entries[] = {{hub_.get(), POLLIN, 0}, {site_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  while ((entries[2].revents & POLLIN) == 0) {
    const absl::Duration wait =
        std::clamp(Turn() - Clock::Real().Now(), absl::ZeroDuration(), absl::Seconds(1));
    const timespec timeout = absl::ToTimespec(wait);
    ::ppoll(entries, 3, &timeout, nullptr);
  }
}

}  // namespace isthmus::net
