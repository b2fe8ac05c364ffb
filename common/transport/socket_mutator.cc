#include "common/transport/socket_mutator.h"

#include <grpc/support/sync.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/version_info.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/transport/connection_socket.h"

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
  std::string congestion_control;
};

bool Mutate(const grpc_mutate_socket_info* info, grpc_socket_mutator* mutator) {
  ConfigureConnection(info->fd, static_cast<Mutator*>(mutator)->congestion_control);
  return true;  // a connection with another is better than none
}

int Compare(grpc_socket_mutator* a, grpc_socket_mutator* b) {
  return static_cast<Mutator*>(a)->congestion_control.compare(
      static_cast<Mutator*>(b)->congestion_control);
}

void Destroy(grpc_socket_mutator* mutator) { delete static_cast<Mutator*>(mutator); }

constexpr grpc_socket_mutator_vtable kVtable = {nullptr, &Compare, &Destroy, &Mutate};

}  // namespace

void ConfigureConnections(const std::string& congestion_control, grpc::ChannelArguments* args) {
  auto* const mutator = new Mutator;
  grpc_socket_mutator_init(mutator, &kVtable);
  mutator->congestion_control = congestion_control;
  args->SetSocketMutator(mutator);
}

#else

void ConfigureConnections(const std::string&, grpc::ChannelArguments*) {}

#endif

}  // namespace isthmus
