// Channels and server builders with the settings that both ends must agree on.
#ifndef ISTHMUS_COMMON_TRANSPORT_ENDPOINTS_H_
#define ISTHMUS_COMMON_TRANSPORT_ENDPOINTS_H_

#include <absl/status/status.h>

#include <memory>
#include <string>

#include "common/transport/connection_socket.h"
#include "common/transport/credentials.h"

namespace grpc {
class Channel;
class ServerBuilder;
}  // namespace grpc

namespace isthmus {

// What either end takes in one message; gRPC refuses more as RESOURCE_EXHAUSTED, naming both sizes.
// The largest layout fits (common/tensor/layout.h): 4 MiB of names, up to 34 bytes beside each.
// Frames of the data plane are held to kFrameBytes by their receiver.
inline constexpr int kMaxMessageBytes = 8 << 20;

// The same between daemons of one site, which pass on whole updates: a bucket's coefficients as
// float32, and some headers.
inline constexpr int kMaxSiteMessageBytes = (1 << 30) + (1 << 20);

// How long a peer may leave bytes unanswered; the kernel's limit for connections is the same.
inline constexpr int kKeepaliveTimeoutMs = 10'000;

inline constexpr char kDefaultCoordinator[] = "127.0.0.1:29750";

// About how many threads gRPC starts in a process that serves or calls, for CheckThreads().
int MaxGrpcThreads();

// A lazily connecting channel of its own (never shared with another of this process), with
// keepalive pings and a bounded reconnect backoff.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const Credentials& credentials,
                                           int max_message_bytes = kMaxMessageBytes,
                                           const ConnectionOptions& connections = {});

// The server's side of the same settings. Addresses and credentials are rpc_server.h's.
void ConfigureServer(grpc::ServerBuilder* builder, int max_message_bytes = kMaxMessageBytes);

// OK for a loopback host; FAILED_PRECONDITION for any other without `insecure` (P27): there is no
// TLS yet, so exposing the port must be somebody's decision. INVALID_ARGUMENT unless HOST:PORT.
absl::Status CheckListenAddress(const std::string& address, bool insecure);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_ENDPOINTS_H_
