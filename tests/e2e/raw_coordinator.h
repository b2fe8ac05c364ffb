// A coordinator that speaks the protocol over bare services and does whatever a test says. It takes
// every registration and every call; what a stream hears is the test's.
#ifndef ISTHMUS_TESTS_E2E_RAW_COORDINATOR_H_
#define ISTHMUS_TESTS_E2E_RAW_COORDINATOR_H_

#include <absl/status/status.h>
#include <grpcpp/server.h>
#include <grpcpp/support/sync_stream.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "common/run/run_spec.h"
#include "isthmus/v1/control.grpc.pb.h"
#include "isthmus/v1/exchange.grpc.pb.h"

namespace isthmus::e2e {

// Thread-safe.
class RawCoordinator : v1::Control::Service, v1::Exchange::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;
  // `serve` has a stream from before its Hello until it returns how it ends.
  RawCoordinator(const RunSpec& run, std::function<absl::Status(Stream& stream)> serve);
  ~RawCoordinator() override;

  std::string address() const;
  int registrations() const { return registrations_; }
  int readies() const { return readies_; }
  int streams() const { return streams_; }

 private:
  grpc::Status Register(grpc::ServerContext* context, const v1::RegisterRequest* request,
                        v1::RegisterReply* reply) override;
  grpc::Status Ready(grpc::ServerContext* context, const v1::ReadyRequest* request,
                     v1::ReadyReply* reply) override;
  grpc::Status NotReady(grpc::ServerContext* context, const v1::NotReadyRequest* request,
                        v1::NotReadyReply* reply) override;
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatReply* reply) override;
  grpc::Status Leave(grpc::ServerContext* context, const v1::LeaveRequest* request,
                     v1::LeaveReply* reply) override;
  grpc::Status Connect(grpc::ServerContext* context, Stream* stream) override;

  const RunSpec run_;
  const std::function<absl::Status(Stream& stream)> serve_;
  std::atomic<int> registrations_{0};
  std::atomic<int> readies_{0};
  std::atomic<int> streams_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace isthmus::e2e

#endif  // ISTHMUS_TESTS_E2E_RAW_COORDINATOR_H_
