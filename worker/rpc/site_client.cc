#include "worker/rpc/site_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <optional>
#include <utility>

#include "common/base/mutex.h"
#include "common/transport/endpoints.h"
#include "common/transport/status.h"
#include "isthmus/v1/site.grpc.pb.h"
#include "worker/rpc/send_queue.h"

namespace isthmus {
namespace {

class Client : public SiteClient {
 public:
  Client(const std::string& leader, const Credentials& credentials)
      : stub_(v1::Site::NewStub(MakeChannel(leader, credentials, kMaxSiteMessageBytes))) {}

  absl::Status Follow(const v1::Join& join,
                      const std::function<absl::Status(v1::LeaderMessage&)>& handle) override {
    const auto stream = stub_->Follow(&context_);
    {
      MutexLock lock(&mu_);
      queue_.emplace(
          [&stream](const v1::FollowerMessage& message) { return stream->Write(message); });
      queue_->Send([join](v1::FollowerMessage* message) { *message->mutable_join() = join; });
    }
    v1::LeaderMessage message;
    absl::Status handled;
    while (handled.ok() && stream->Read(&message)) handled = handle(message);
    if (!handled.ok()) context_.TryCancel();
    {
      MutexLock lock(&mu_);
      queue_->Drop();
    }
    queue_->Close();
    const absl::Status ended = FromGrpc(stream->Finish());
    return handled.ok() ? ended : handled;
  }

  void Send(std::function<void(v1::FollowerMessage*)> fill) override {
    MutexLock lock(&mu_);
    if (queue_) queue_->Send(std::move(fill));
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  const std::unique_ptr<v1::Site::Stub> stub_;
  grpc::ClientContext context_;
  Mutex mu_;
  std::optional<SendQueue<v1::FollowerMessage>> queue_;  // set once, under mu_
};

}  // namespace

std::shared_ptr<SiteClient> SiteClient::Make(const std::string& leader,
                                             const Credentials& credentials) {
  return std::make_shared<Client>(leader, credentials);
}

}  // namespace isthmus
