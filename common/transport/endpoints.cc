#include "common/transport/endpoints.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <mutex>

namespace isthmus {
namespace {

// A silent peer is noticed after at most time + timeout; a saturated 1 Mbit/s link still answers.
constexpr int kKeepaliveTimeMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kMinPingIntervalMs = 5'000;
constexpr int kMaxBackoffMs = 2'000;
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
        grpc::CreateChannel("unix:/dev/null/nowhere", grpc::InsecureChannelCredentials()));
    auto* const call = new Call;
    stub->UnaryCall(&call->context, "/isthmus/None", {}, &call->request, &call->reply,
                    [call](const grpc::Status&) { delete call; });
    static std::atomic<grpc::GenericStub*> kept;  // for who looks for leaks
    kept = stub;
  });
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, int max_message_bytes) {
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
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

void ConfigureServer(grpc::ServerBuilder* builder, int max_message_bytes) {
  builder->SetMaxReceiveMessageSize(max_message_bytes);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::Status CheckListenAddress(const std::string& address, bool insecure) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen address: expected HOST:PORT, got '", address, "'"));
  }
  const std::string host = address.substr(0, colon);
  uint32_t port = 0;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen address: expected a port from 0 to 65535, got '", address, "'"));
  }
  in_addr ipv4{};  // an address, not a name that merely begins like one
  const bool loopback =
      host == "localhost" || host == "[::1]" ||
      (inet_pton(AF_INET, host.c_str(), &ipv4) == 1 && ntohl(ipv4.s_addr) >> 24 == 127);
  if (loopback || insecure) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("listen address ", address,
                                                    " is not loopback: without TLS that needs "
                                                    "--insecure, on a network you trust"));
}

}  // namespace isthmus
