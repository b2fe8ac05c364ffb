#include "worker/rpc/site_server.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>

#include <utility>

#include "common/base/status_macros.h"
#include "common/transport/endpoints.h"
#include "common/transport/rpc_server.h"
#include "common/transport/status.h"
#include "isthmus/v1/site.grpc.pb.h"
#include "worker/rpc/send_queue.h"

namespace isthmus {
namespace {

// Streams that are there only to be told why not.
constexpr int kSpareStreams = 8;
// How long followers may take to go by themselves.
constexpr absl::Duration kGrace = absl::Seconds(1);

using Stream = grpc::ServerReaderWriter<v1::LeaderMessage, v1::FollowerMessage>;

class Sender : public FollowerStream {
 public:
  explicit Sender(Stream* stream)
      : queue_([stream](const v1::LeaderMessage& message) { return stream->Write(message); }) {}
  void Send(std::function<void(v1::LeaderMessage*)> fill) override { queue_.Send(std::move(fill)); }
  void Close() {
    queue_.Drop();
    queue_.Close();
  }

 private:
  SendQueue<v1::LeaderMessage> queue_;
};

class Service : public v1::Site::Service {
 public:
  explicit Service(SiteServerEvents* events) : events_(events) {}

  grpc::Status Follow(grpc::ServerContext* /*context*/, Stream* stream) override {
    v1::FollowerMessage message;
    if (!stream->Read(&message)) return grpc::Status::OK;
    if (!message.has_join()) {
      return ToGrpc(absl::InvalidArgumentError("expected Join first"));
    }
    const uint32_t machine = message.join().machine();
    const auto sender = std::make_shared<Sender>(stream);
    absl::Status status = events_->OnJoin(sender, message.join());
    if (status.ok()) {
      while (status.ok() && stream->Read(&message)) status = events_->OnMessage(machine, message);
      if (status.ok()) status = absl::UnavailableError("the stream ended");
      events_->OnGone(machine, status);
    }
    // Nothing is written to a stream that is no more, whoever still has the sender.
    sender->Close();
    return ToGrpc(status);
  }

 private:
  SiteServerEvents* const events_;
};

class Server : public SiteServer {
 public:
  explicit Server(SiteServerEvents* events) : service_(events) {}
  ~Server() override { Shutdown(); }

  absl::Status Listen(const Options& options) {
    grpc::ServerBuilder builder;
    ConfigureServer(&builder, kMaxSiteMessageBytes);
    // A stream that is read blocks a thread.
    grpc::ResourceQuota quota;
    quota.SetMaxThreads(static_cast<int>(options.max_streams) + kSpareStreams);
    builder.SetResourceQuota(quota);
    builder.RegisterService(&service_);
    ISTHMUS_ASSIGN_OR_RETURN(rpc_, RpcServer::Start({.listen = options.listen,
                                                     .insecure = options.insecure,
                                                     .credentials = options.credentials},
                                                    &builder));
    return absl::OkStatus();
  }

  int port() const override { return rpc_->address().port; }

  void Shutdown() override {
    if (rpc_ != nullptr) rpc_->Shutdown(kGrace);
  }

 private:
  Service service_;
  std::unique_ptr<RpcServer> rpc_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SiteServer>> SiteServer::Start(Options options,
                                                              SiteServerEvents* events) {
  auto server = std::make_unique<Server>(events);
  ISTHMUS_RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace isthmus
