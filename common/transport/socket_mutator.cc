#include "common/transport/socket_mutator.h"

#include <grpc/support/sync.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/version_info.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <compare>
#include <tuple>

// gRPC exports the hook's functions, and ChannelArguments takes one; but its header is not
// installed. These are its declarations, as they were from 1.38 (src/core/lib/iomgr/
// socket_mutator.h); a version beyond those looked at goes without.
#define ISTHMUS_KNOWS_SOCKET_MUTATOR \
  (GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR >= 38 && GRPC_CPP_VERSION_MINOR <= 51)

#if ISTHMUS_KNOWS_SOCKET_MUTATOR

enum grpc_fd_usage {
  GRPC_FD_CLIENT_CONNECTION_USAGE,
  GRPC_FD_SERVER_LISTENER_USAGE,
  GRPC_FD_SERVER_CONNECTION_USAGE
};
struct grpc_mutate_socket_info {
  int fd;
  grpc_fd_usage usage;
};
struct grpc_socket_mutator_vtable {
  bool (*mutate_fd)(int fd, grpc_socket_mutator* mutator);
  int (*compare)(grpc_socket_mutator* a, grpc_socket_mutator* b);
  void (*destroy)(grpc_socket_mutator* mutator);
  bool (*mutate_fd_2)(const grpc_mutate_socket_info* info, grpc_socket_mutator* mutator);
};
struct grpc_socket_mutator {
  const grpc_socket_mutator_vtable* vtable;
  gpr_refcount refcount;
};
void grpc_socket_mutator_init(grpc_socket_mutator* mutator,
                              const grpc_socket_mutator_vtable* vtable);

#endif

namespace isthmus {

#if ISTHMUS_KNOWS_SOCKET_MUTATOR

namespace {

// gRPC counts who holds it, and calls Destroy when nobody does. Immutable.
struct Mutator : grpc_socket_mutator {
  ConnectionOptions options;
};

bool Mutate(const grpc_mutate_socket_info* info, grpc_socket_mutator* mutator) {
  ConfigureConnection(info->fd, static_cast<Mutator*>(mutator)->options);
  return true;  // a connection with another is better than none
}

// As strcmp() does.
int Compare(grpc_socket_mutator* a, grpc_socket_mutator* b) {
  const ConnectionOptions& x = static_cast<Mutator*>(a)->options;
  const ConnectionOptions& y = static_cast<Mutator*>(b)->options;
  if (const int order = x.congestion_control.compare(y.congestion_control); order != 0)
    return order;
  return (x.max_bytes_per_second > y.max_bytes_per_second) -
         (x.max_bytes_per_second < y.max_bytes_per_second);
}

void Destroy(grpc_socket_mutator* mutator) { delete static_cast<Mutator*>(mutator); }

constexpr grpc_socket_mutator_vtable kVtable = {nullptr, &Compare, &Destroy, &Mutate};

}  // namespace

bool CanConfigureConnections() { return true; }

void ConfigureConnections(const ConnectionOptions& options, grpc::ChannelArguments* args) {
  auto* const mutator = new Mutator;
  grpc_socket_mutator_init(mutator, &kVtable);
  mutator->options = options;
  args->SetSocketMutator(mutator);
}

#else

bool CanConfigureConnections() { return false; }

void ConfigureConnections(const ConnectionOptions&, grpc::ChannelArguments*) {}

#endif

}  // namespace isthmus
