#include "cli/status/pace_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <sstream>
#include <string>

#include "cli/base/exit_codes.h"
#include "server/rpc/coordinator_server.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

class PaceCommandTest : public ::testing::Test {
 protected:
  void StartCoordinator(bool paced) {
    CoordinatorServer::Options options;
    if (paced) options.engine.core.pace = Pacer::Options{};
    coordinator_ = CoordinatorServer::Start(options, Clock::Real()).value();
    options_.coordinator = ToString(coordinator_->address());
  }
  int Run(bool freeze) {
    options_.freeze = freeze;
    options_.thaw = !freeze;
    return RunPace(options_, signals_, out_, errors_);
  }
  bool Frozen() { return coordinator_->engine().Status().pace_frozen; }

  Signals signals_;  // before gRPC starts threads
  std::unique_ptr<CoordinatorServer> coordinator_;
  PaceOptions options_;
  std::ostringstream out_, errors_;
};

TEST_F(PaceCommandTest, FreezesAndThaws) {
  StartCoordinator(true);
  EXPECT_FALSE(Frozen());
  EXPECT_EQ(Run(true), kExitOk) << errors_.str();
  EXPECT_TRUE(Frozen());
  EXPECT_THAT(out_.str(), HasSubstr("frozen"));
  EXPECT_EQ(Run(true), kExitOk) << "again";
  EXPECT_EQ(Run(false), kExitOk) << errors_.str();
  EXPECT_FALSE(Frozen());
  std::string kinds;
  for (const PastEvent& past : coordinator_->engine().Status().events) {
    kinds += std::string(EventKind(past.event)) + " ";
  }
  EXPECT_EQ(kinds, "pace_frozen pace_thawed ") << "what changes nothing is no event";
}

TEST_F(PaceCommandTest, ARunWithoutAPaceSaysSo) {
  StartCoordinator(false);
  EXPECT_EQ(Run(true), kExitFailure);
  EXPECT_THAT(errors_.str(), HasSubstr("this run is not paced"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(PaceCommandTest, SaysWhenNobodyListens) {
  options_.coordinator = "127.0.0.1:1";
  EXPECT_EQ(Run(true), kExitUnreachable);
  EXPECT_THAT(errors_.str(), HasSubstr("isthmus pace: no coordinator answers at 127.0.0.1:1"));
  options_.coordinator = "nowhere";
  EXPECT_EQ(Run(true), kExitUsage);
}

TEST_F(PaceCommandTest, ASignalEndsIt) {
  StartCoordinator(true);
  raise(SIGINT);
  EXPECT_EQ(Run(true), 130);
  EXPECT_EQ(out_.str(), "");
}

}  // namespace
}  // namespace isthmus
