#include "common/transport/connection_socket.h"

#include <absl/strings/str_cat.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "common/base/printable.h"

namespace isthmus {
namespace {

constexpr char kAvailable[] = "/proc/sys/net/ipv4/tcp_available_congestion_control";
constexpr char kPreferred[] = "bbr";
// Bytes: a quarter of a second of 1 Mbit/s; half a millisecond of 500 Mbit/s, in which gRPC has
// written more.
constexpr int kMostUnsent = 32 << 10;

bool Set(int fd, const std::string& name) {
  return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                    static_cast<socklen_t>(name.size())) == 0;
}

std::string Get(int fd) {
  std::array<char, 32> name{};
  socklen_t length = name.size() - 1;
  const bool said = getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length) == 0;
  return said ? name.data() : "";
}

std::string Available() {
  std::ifstream in(kAvailable);
  std::string line;
  std::getline(in, line);
  return line.empty() ? "unknown" : line;
}

}  // namespace

absl::StatusOr<std::string> ResolveCongestionControl(const std::string& choice) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::string();  // what is wrong there is found where it matters
  bool given = true;
  if (choice == kAutoCongestion) {
    (void)Set(fd, kPreferred);
  } else if (choice != kSystemCongestion) {
    given = Set(fd, choice);
  }
  std::string name = Get(fd);
  close(fd);
  if (given) return name;
  return absl::InvalidArgumentError(
      absl::StrCat("expected auto, system, or a congestion control that the kernel gives this "
                   "process (it has ",
                   Available(), "), got '", Printable(choice), "'"));
}

std::function<std::string(const std::string& text)> CongestionControl() {
  return [](const std::string& text) {
    return std::string(ResolveCongestionControl(text).status().message());
  };
}

void ConfigureConnection(int fd, const ConnectionOptions& options) {
  if (!options.congestion_control.empty()) (void)Set(fd, options.congestion_control);
  if (const uint64_t most = options.max_bytes_per_second; most > 0) {
    (void)setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &most, sizeof(most));
  }
  if (options.little_unsent) {
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kMostUnsent, sizeof(kMostUnsent));
  }
}

}  // namespace isthmus
