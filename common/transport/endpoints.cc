#include "common/transport/endpoints.h"

#include <absl/strings/str_cat.h>
#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "common/base/host_port.h"
#include "common/transport/socket_mutator.h"

namespace isthmus {
namespace {

// A silent peer is noticed after at most time + timeout; a saturated 1 Mbit/s link still answers.
constexpr int kKeepaliveTimeMs = 10'000;
constexpr int kMinPingIntervalMs = 5'000;
constexpr int kMaxBackoffMs = 2'000;
// Beyond as many, threads follow the work rather than the machine.
constexpr int kManyCores = 32;
// Whoever connects and says nothing holds a descriptor; gRPC would wait for two minutes.
constexpr int kHandshakeTimeoutMs = 20'000;
// What gRPC calls the minimum backoff is how long an attempt to connect may take: several round
// trips of a far and busy link, not the pause between attempts.
constexpr int kConnectTimeoutMs = 10'000;

// gRPC 1.51 serves all callback calls of a process from one completion queue, ends it with the last
// channel that used it, and may then count its references once too often ("assertion failed:
// prior > 0" in ref_counted.h, an abort). So one channel that has used it stays until the process
// ends. Its target is nowhere, and its one call fails at once.
void KeepCallbackQueue() {
  struct Call {
    grpc::ClientContext context;
    grpc::Slice nothing;
    grpc::ByteBuffer request{&nothing, 1};
    grpc::ByteBuffer reply;
  };
  static std::once_flag once;
  std::call_once(once, [] {
    auto* const stub = new grpc::GenericStub(
        grpc::CreateChannel("unix:/dev/null/nowhere", Credentials::Insecure().channel()));
    auto* const call = new Call;
    stub->UnaryCall(&call->context, "/isthmus/None", {}, &call->request, &call->reply,
                    [call](const grpc::Status&) { delete call; });
    static std::atomic<grpc::GenericStub*> kept;  // for who looks for leaks
    kept = stub;
  });
}

}  // namespace

int MaxGrpcThreads() {
  // 14 on 2 cores. By its sources: pollers of the callback queue, half the cores, 2 to 16; two
  // executors of up to twice the cores; timers and the event engine a few.
  const int cores = std::min(static_cast<int>(std::thread::hardware_concurrency()), kManyCores);
  return 12 + 3 * cores;
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const Credentials& credentials, int max_message_bytes,
                                           const ConnectionOptions& connections) {
  KeepCallbackQueue();
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(max_message_bytes);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  ConfigureConnections(connections, &args);
  return grpc::CreateCustomChannel(address, credentials.channel(), args);
}

void ConfigureServer(grpc::ServerBuilder* builder, int max_message_bytes) {
  builder->SetMaxReceiveMessageSize(max_message_bytes);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
}

absl::Status CheckListenAddress(const std::string& address, bool insecure) {
  const absl::StatusOr<HostPort> parts = ParseHostPort(address);
  if (!parts.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("listen address: ", parts.status().message()));
  }
  in_addr ipv4{};  // an address, not a name that merely begins like one
  const bool loopback =
      parts->host == "localhost" || parts->host == "::1" ||
      (inet_pton(AF_INET, parts->host.c_str(), &ipv4) == 1 && ntohl(ipv4.s_addr) >> 24 == 127);
  if (loopback || insecure) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("listen address ", address,
                                                    " is not loopback: without TLS that needs "
                                                    "--insecure, on a network you trust"));
}

}  // namespace isthmus
