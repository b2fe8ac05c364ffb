// A peer that speaks the protocol over bare stubs and does whatever a test says, right or wrong.
#ifndef ISTHMUS_TESTS_E2E_RAW_PEER_H_
#define ISTHMUS_TESTS_E2E_RAW_PEER_H_

#include <absl/status/status.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>
#include <memory>
#include <string>

#include "isthmus/v1/control.grpc.pb.h"
#include "isthmus/v1/exchange.grpc.pb.h"

namespace isthmus::e2e {

// Every call and stream has a deadline. Single-threaded.
class RawPeer {
 public:
  RawPeer(const std::string& coordinator, uint32_t group);
  ~RawPeer();

  // --- control plane ---------------------------------------------------------------------------
  v1::RegisterRequest MakeRegister() const;
  absl::Status Register(const v1::RegisterRequest& request);  // remembers the answer
  absl::Status Ready();                                       // with the harness' model
  absl::Status Ready(const v1::Layout& layout);
  absl::Status NotReady();
  const v1::RegisterReply& registration() const { return registration_; }

  // --- data plane ------------------------------------------------------------------------------
  void Open();  // the stream, without a word
  v1::WorkerMessage MakeHello() const;
  void Write(const v1::WorkerMessage& message);
  // Reads until the stream ends; how it did.
  absl::Status AwaitEnd();
  // Reads until a contribution is refused.
  v1::Refused AwaitRefused();
  // Says that nothing more will come, then as AwaitEnd().
  absl::Status Leave();

  // Registers, says Hello and Ready, takes a snapshot, and is told Start.
  void BecomeActive();
  uint64_t open_round() const { return open_round_; }

  // A right part of the open round: all of `bucket`, in one frame.
  v1::WorkerMessage MakePart(uint32_t bucket) const;

 private:
  void ReadUntil(const std::function<bool(const v1::CoordinatorMessage&)>& done);
  // What the protocol wants said at once: that a frame has come, or that nothing is held.
  void Acknowledge(const v1::CoordinatorMessage& message);
  v1::Identity identity() const;

  const uint32_t group_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Control::Stub> control_;
  std::unique_ptr<v1::Exchange::Stub> exchange_;
  v1::RegisterReply registration_;
  uint64_t changes_ = 0;
  uint64_t open_round_ = 0;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
};

}  // namespace isthmus::e2e

#endif  // ISTHMUS_TESTS_E2E_RAW_PEER_H_
