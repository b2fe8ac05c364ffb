// `isthmus probe` and a coordinator's answers.
#include "cli/probe/probe_command.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "cli/base/exit_codes.h"
#include "common/transport/deadline.h"
#include "common/transport/endpoints.h"
#include "common/transport/rpc_server.h"
#include "isthmus/v1/control.grpc.pb.h"
#include "server/rpc/coordinator_server.h"

namespace isthmus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ProbeCommandTest : public ::testing::Test {
 protected:
  void StartCoordinator() {
    coordinator_ = CoordinatorServer::Start({}, Clock::Real()).value();
    options_.coordinator = ToString(coordinator_->address());
  }
  int Run() { return RunProbe(options_, signals_, out_, errors_); }

  grpc::Status Probe(uint64_t up, uint32_t down, v1::ProbeReply* reply) {
    const auto stub =
        v1::Control::NewStub(MakeChannel(options_.coordinator, Credentials::Insecure()));
    grpc::ClientContext context;
    context.set_deadline(DeadlineIn(absl::Minutes(1)));
    v1::ProbeRequest request;
    request.set_padding(std::string(up, 'x'));
    request.set_reply_bytes(down);
    return stub->Probe(&context, request, reply);
  }

  Signals signals_;  // before gRPC starts threads
  std::unique_ptr<CoordinatorServer> coordinator_;
  ProbeOptions options_;
  std::ostringstream out_;
  std::ostringstream errors_;
};

TEST_F(ProbeCommandTest, SaysWhatThePathCarries) {
  StartCoordinator();
  EXPECT_EQ(Run(), kExitOk) << errors_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("round trip"), HasSubstr("up "), HasSubstr("bit/s"),
                                HasSubstr("as a link")));
}

TEST_F(ProbeCommandTest, ItsLinkIsOneThatPlanTakes) {
  StartCoordinator();
  options_.json = true;
  EXPECT_EQ(Run(), kExitOk) << errors_.str();
  const auto json = nlohmann::json::parse(out_.str());
  EXPECT_GT(json["up_bits_per_second"], 0);
  EXPECT_LE(json["round_trip_seconds"]["least"], json["round_trip_seconds"]["most"]);
  const PlanFlags plan{.parameters = "1M", .step = "1s", .links = json["link"]};
  EXPECT_TRUE(ParsePlanFlags(plan).ok()) << ParsePlanFlags(plan).status();
}

TEST_F(ProbeCommandTest, GoesOnToAPlan) {
  StartCoordinator();
  options_.plan = {.parameters = "124M", .step = "0.5s"};
  EXPECT_EQ(Run(), kExitOk) << errors_.str();
  EXPECT_THAT(out_.str(), HasSubstr("The first: isthmus-coordinator"));
}

TEST_F(ProbeCommandTest, AWrongPlanIsRefusedBeforeAnythingIsMeasured) {
  options_.coordinator = "127.0.0.1:1";
  options_.plan = {.parameters = "many", .step = "0.5s"};
  EXPECT_EQ(Run(), kExitUsage);
  EXPECT_THAT(errors_.str(), HasSubstr("--params: expected a number of parameters"));
}

TEST_F(ProbeCommandTest, SaysWhenNobodyListens) {
  options_.coordinator = "127.0.0.1:1";
  EXPECT_EQ(Run(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("isthmus probe: no coordinator answers at 127.0.0.1:1"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(ProbeCommandTest, AnOlderCoordinatorKnowsNoProbes) {
  v1::Control::CallbackService nothing;  // refuses every call
  grpc::ServerBuilder builder;
  builder.RegisterService(&nothing);
  const auto server = RpcServer::Start({.listen = "127.0.0.1:0"}, &builder).value();
  options_.coordinator = ToString(server->address());
  EXPECT_EQ(Run(), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("knows no probes"));
}

TEST_F(ProbeCommandTest, ASignalEndsIt) {
  StartCoordinator();
  raise(SIGINT);
  EXPECT_EQ(Run(), 130);
  EXPECT_EQ(out_.str(), "");
}

// What its own calls held is given back a little after it has their answers.
TEST_F(ProbeCommandTest, ManyOneAfterTheOtherAreNotRefused) {
  StartCoordinator();
  v1::ProbeReply reply;
  for (int i = 0; i < 30; ++i) {
    const grpc::Status status = Probe(0, 4 << 20, &reply);
    ASSERT_TRUE(status.ok()) << i << ": " << status.error_message();
  }
}

TEST_F(ProbeCommandTest, ACoordinatorGivesWhatIsAskedForUpToABound) {
  StartCoordinator();
  v1::ProbeReply reply;
  EXPECT_TRUE(Probe(100'000, 4 << 20, &reply).ok());
  EXPECT_EQ(reply.padding().size(), size_t{4} << 20);
  const grpc::Status refused = Probe(0, (4 << 20) + 1, &reply);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused.error_message(), "reply_bytes: expected at most 4194304, got 4194305");
}

}  // namespace
}  // namespace isthmus
