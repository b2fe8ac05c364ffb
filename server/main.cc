// isthmus-coordinator: flags, checks, wiring.

#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <iostream>
#include <random>
#include <variant>

#include "common/base/host_port.h"
#include "common/base/process_limits.h"
#include "common/base/signals.h"
#include "common/kernels/simd.h"
#include "common/program/output_file.h"
#include "common/telemetry/log.h"
#include "common/transport/endpoints.h"
#include "server/exit_codes.h"
#include "server/flags.h"

namespace isthmus {
namespace {

int Fail(const absl::Status& status, int code) {
  std::cerr << "isthmus-coordinator: " << status.message() << std::endl;
  return code;
}

// So that a worker can tell this run from another one of the same address. Never 0.
uint64_t RandomInstance() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

// Before anything has begun, since libraries abort when they are refused one.
absl::Status CheckThreadsFor(const CoordinatorFlags& flags) {
  constexpr int kOwnThreads = 2;  // the engine's ticker, and who takes connections in
  return CheckThreads(MaxGrpcThreads() + flags.server.engine.merge_threads + kOwnThreads);
}

// Listens, says where, and serves until a signal comes.
int Serve(const CoordinatorFlags& flags) {
  auto server = CoordinatorServer::Start(flags.server, Clock::Real());
  if (!server.ok()) {
    const bool limits = absl::IsResourceExhausted(server.status());
    return Fail(server.status(), limits ? kExitFailure : kExitCannotListen);
  }
  const std::string address = ToString((*server)->address());
  LogInfo(
      absl::StrCat("listening on ", address, ", run instance ", flags.server.engine.core.instance));
  if (!flags.port_file.empty()) {
    const absl::Status written = WriteOutputFile(flags.port_file, address + "\n");
    if (!written.ok()) return Fail(written, kExitFailure);
  }
  const int signal = WaitForStopSignal(-1);
  LogInfo(absl::StrCat("signal ", signal, ": shutting down"));
  (*server)->Shutdown(absl::Seconds(1));
  return kExitOk;
}

int Main(int argc, char** argv) {
  BlockStopSignals();
  RaiseDescriptorLimit();
  auto parsed = ParseCoordinatorFlags(argc, argv, std::cout, std::cerr);
  if (const int* code = std::get_if<int>(&parsed)) return *code;
  CoordinatorFlags& flags = std::get<CoordinatorFlags>(parsed);
  if (absl::Status s = SetLogLevel(flags.log_level); !s.ok()) return Fail(s, kExitUsage);
  if (absl::Status s = CheckSimdChoice(); !s.ok()) return Fail(s, kExitUsage);
  if (absl::Status s = CheckThreadsFor(flags); !s.ok()) ExitAtOnce(Fail(s, kExitFailure));
  flags.server.engine.core.instance = RandomInstance();
  return Serve(flags);
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
