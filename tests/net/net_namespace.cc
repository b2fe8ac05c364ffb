#include "tests/net/net_namespace.h"

#include <absl/strings/str_cat.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <utility>

#include "common/base/status_macros.h"

namespace isthmus::net {
namespace {

constexpr char kOwnNamespace[] = "/proc/thread-self/ns/net";
// Packets that wait in the device until the relay reads them: enough that only the relay's own
// queue drops any.
constexpr int kDeviceQueue = 10000;

absl::Status SystemError(const std::string& what) { return absl::ErrnoToStatus(errno, what); }

ifreq Request(const std::string& device) {
  ifreq request = {};
  std::strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
  return request;
}

void PutAddress(const std::string& address, ifreq* request) {
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  ::inet_pton(AF_INET, address.c_str(), &in.sin_addr);
  std::memcpy(&request->ifr_addr, &in, sizeof(in));
}

absl::Status Configure(unsigned long call, ifreq request, const char* what) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() || ::ioctl(socket.get(), call, &request) != 0) {
    return SystemError(absl::StrCat(request.ifr_name, ": ", what));
  }
  return absl::OkStatus();
}

absl::Status BringUp(const std::string& device) {
  ifreq request = Request(device);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return Configure(SIOCSIFFLAGS, request, "bringing it up");
}

// In the calling thread's namespace.
absl::StatusOr<UniqueFd> MakeTun(const std::string& name, const std::string& address) {
  UniqueFd tun(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!tun.valid()) return SystemError("/dev/net/tun");
  ifreq request = Request(name);
  // Without offloads, whole packets with their checksums come out, none larger than the MTU.
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) return SystemError("TUNSETIFF");
  request = Request(name);
  request.ifr_qlen = kDeviceQueue;
  ISTHMUS_RETURN_IF_ERROR(Configure(SIOCSIFTXQLEN, request, "its queue"));
  PutAddress(address, &request);
  ISTHMUS_RETURN_IF_ERROR(Configure(SIOCSIFADDR, request, address.c_str()));
  PutAddress("255.255.255.0", &request);
  ISTHMUS_RETURN_IF_ERROR(Configure(SIOCSIFNETMASK, request, "its netmask"));
  ISTHMUS_RETURN_IF_ERROR(BringUp(name));
  return tun;
}

}  // namespace

absl::StatusOr<NetNamespace> NetNamespace::Create() {
  absl::Status status;
  UniqueFd fd;
  // A namespace belongs to a thread: this process's others stay where they are.
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      status = SystemError("unshare(CLONE_NEWNET)");
      return;
    }
    fd = UniqueFd(::open(kOwnNamespace, O_RDONLY | O_CLOEXEC));
    status = fd.valid() ? BringUp("lo") : SystemError(kOwnNamespace);
  }).join();
  ISTHMUS_RETURN_IF_ERROR(status);
  return NetNamespace(std::move(fd));
}

absl::Status NetNamespace::Run(const std::function<absl::Status()>& f) const {
  absl::Status status;
  std::thread([&] {
    status = ::setns(fd_.get(), CLONE_NEWNET) == 0 ? f() : SystemError("setns");
  }).join();
  return status;
}

absl::StatusOr<UniqueFd> NetNamespace::OpenTun(const std::string& name,
                                               const std::string& address) const {
  absl::StatusOr<UniqueFd> tun;
  const absl::Status status = Run([&] {
    tun = MakeTun(name, address);
    return tun.status();
  });
  if (!status.ok()) return status;
  return tun;
}

absl::StatusOr<pid_t> NetNamespace::Spawn(const std::vector<std::string>& argv,
                                          const std::string& log_path) const {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return SystemError("fork");
  if (child > 0) return child;
  // Other threads' locks may be held for ever here: system calls alone.
  const int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent &&
      ::setns(fd_.get(), CLONE_NEWNET) == 0 && ::dup2(log, STDOUT_FILENO) >= 0 &&
      ::dup2(log, STDERR_FILENO) >= 0) {
    ::execv(args[0], args.data());
  }
  ::_exit(127);
}

absl::Status CheckCanUseNamespaces() {
  const auto space = NetNamespace::Create();
  ISTHMUS_RETURN_IF_ERROR(space.status());
  return space->OpenTun("wan", "10.77.0.1").status();
}

}  // namespace isthmus::net
