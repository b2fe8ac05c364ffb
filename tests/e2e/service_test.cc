// What the coordinator offers besides: health, reflection, status; and a client that never reads.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <chrono>

#include "common/transport/endpoints.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/raw_peer.h"

namespace isthmus::e2e {
namespace {

using ::testing::HasSubstr;

// The first answer to `request`, both as bytes: stubs of these two standard services are not
// everywhere installed. Empty if there was none.
std::string FirstAnswer(const std::string& address, const std::string& method,
                        const std::string& request) {
  grpc::GenericStub stub(MakeChannel(address, Credentials::Insecure()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  const grpc::Slice slice(request);
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  queue.Next(&tag, &ok);
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  queue.Next(&tag, &ok);
  std::string bytes;
  std::vector<grpc::Slice> slices;
  if (ok && answer.Dump(&slices).ok()) {
    for (const grpc::Slice& piece : slices) {
      bytes.append(reinterpret_cast<const char*>(piece.begin()), piece.size());
    }
  }
  context.TryCancel();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) continue;
  return bytes;
}

TEST(ServiceTest, HealthSaysServing) {
  TestCoordinator coordinator(SmallRun(1, 1));
  // HealthCheckRequest{} -> HealthCheckResponse{status = 1: SERVING}
  EXPECT_EQ(FirstAnswer(coordinator.address(), "/grpc.health.v1.Health/Check", ""), "\x08\x01");
}

TEST(ServiceTest, ReflectionListsTheServices) {
  TestCoordinator coordinator(SmallRun(1, 1));
  // ServerReflectionRequest{list_services = "*"}
  const std::string answer =
      FirstAnswer(coordinator.address(),
                  "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*");
  for (const char* service :
       {"isthmus.v1.Control", "isthmus.v1.Exchange", "grpc.health.v1.Health"}) {
    EXPECT_THAT(answer, HasSubstr(service));
  }
}

TEST(ServiceTest, StatusTellsWhatIsGoingOn) {
  TestCoordinator coordinator(SmallRun(2, 6));
  v1::GetStatusReply status = coordinator.Status();
  EXPECT_EQ(status.state(), v1::GetStatusReply::WAITING_FOR_GROUPS);
  EXPECT_EQ(status.waiting_reason(), "waiting for groups: 0 of start_groups 2 are ready");
  EXPECT_NE(status.instance(), 0u);
  EXPECT_EQ(status.groups_size(), 0);
  EXPECT_EQ(status.run().scheme(), "flexdemo");

  Site one(coordinator.address(), 1, 1);
  Eventually("group 1 is there", [&] { return coordinator.Group(1).connected(); });
  EXPECT_EQ(coordinator.Group(1).state(), "registered");
  Job a(one);
  Eventually("group 1 is ready", [&] { return coordinator.Group(1).state() == "syncing"; });
  EXPECT_EQ(coordinator.Status().waiting_reason(),
            "waiting for groups: 1 of start_groups 2 are ready");

  Site two(coordinator.address(), 2, 3);
  Job b(two);
  a.PauseBefore(6);
  b.PauseBefore(4);
  Eventually("group 1 has answered round 4", [&] {
    return coordinator.Status().round() == 4 && coordinator.Group(1).buckets_received() == 4;
  });
  status = coordinator.Status();
  EXPECT_EQ(status.state(), v1::GetStatusReply::TRAINING);
  // And what keeps it, if its worker's last heartbeat has said so.
  EXPECT_THAT(status.waiting_reason(), ::testing::HasSubstr("round 4 bucket 0: group 2"));
  EXPECT_THAT(status.waiting_reason(), ::testing::EndsWith("has not answered"));
  EXPECT_EQ(status.rounds_committed(), 3u);
  EXPECT_EQ(status.sequence(), 12u);
  EXPECT_EQ(status.parameters(), 15716u);
  EXPECT_EQ(status.buckets(), 4u);
  EXPECT_EQ(status.contributions_merged(), 24u);
  EXPECT_FLOAT_EQ(status.loss(), 1.75f);  // 1 of one rank, 2 of three
  EXPECT_GT(status.samples_per_second(), 0.0);
  EXPECT_GT(status.ring_bytes(), 0u);
  ASSERT_EQ(status.groups_size(), 2);
  for (const v1::GroupStatus& group : status.groups()) {
    EXPECT_EQ(group.state(), "active");
    EXPECT_TRUE(group.connected() && group.awaited());
    EXPECT_EQ(group.incarnation(), 1u);
    EXPECT_GT(group.bytes_up(), 0u);
    EXPECT_GT(group.bytes_down(), 0u);
    EXPECT_LT(group.seconds_since_heard(), 30.0);
  }
  EXPECT_EQ(status.groups(1).label(), "site-2");
  EXPECT_EQ(status.groups(1).ranks(), 3u);
  EXPECT_EQ(status.groups(1).buckets_received(), 0u);
  Eventually("heartbeats tell of the third step", [&] {
    const v1::HeartbeatRequest beat = coordinator.Group(1).heartbeat();
    return beat.steps() == 3 && beat.applied_round() == 3 && beat.waiting() == "in round 4" &&
           beat.step_seconds() > 0;
  });
  a.Resume();
  b.Resume();
  ExpectEqualEnds({&a.Await(), &b.Await()}, coordinator.ExpectEqualHashes(2));
  EXPECT_EQ(coordinator.Status().state(), v1::GetStatusReply::ENDED);
  EXPECT_EQ(coordinator.Status().waiting_reason(), "");
  Eventually("both have said goodbye", [&] {
    return coordinator.Group(1).state() == "gone" && coordinator.Group(2).state() == "gone";
  });
  EXPECT_EQ(coordinator.Group(1).last_event(), "left: the run has ended");
}

// Connects, is sent updates, reads none of them.
TEST(ServiceTest, WhoNeverReadsIsCutOffAndHoldsNobodyUp) {
  constexpr uint64_t kRounds = 300;  // 20 MB: more than gRPC and TCP take for who sleeps
  CoordinatorServer::Options options = ServerOptions(SmallRun(1, kRounds, Scheme::kFull));
  options.engine.ring_bytes = 256 << 10;
  TestCoordinator coordinator(options);
  Site site(coordinator.address(), 1, 1);
  Job job(site);
  job.PauseBefore(2);
  coordinator.AwaitRound(1);
  RawPeer reader(coordinator.address(), 9);
  reader.BecomeActive();
  ASSERT_TRUE(reader.NotReady().ok());  // nobody awaits it; it is still sent updates
  job.Resume();
  ExpectEqualEnds({&job.Await()}, coordinator.ExpectEqualHashes(1));
  const v1::GetStatusReply status = coordinator.Status();
  EXPECT_LE(status.ring_bytes(), options.engine.ring_bytes);
  EXPECT_LT(status.groups(1).bytes_down(), kRounds * 4 * kUnitLength * sizeof(float) / 2);
  // Who alone contributed is sent nothing but headers.
  EXPECT_LT(status.groups(0).bytes_down(), kRounds * 4 * 200);
  const absl::Status end = reader.AwaitEnd();
  EXPECT_EQ(end.code(), absl::StatusCode::kResourceExhausted) << end;
  EXPECT_THAT(std::string(end.message()),
              HasSubstr("is no longer held: this reader was slower than the ring of updates"));
}

// A joiner that takes no snapshot delays neither the donor nor anybody else.
TEST(ServiceTest, AJoinerThatTakesNoSnapshotIsLeftBehind) {
  CoordinatorServer::Options options = ServerOptions(SmallRun(1, 50));
  options.engine.core.transfer_timeout = absl::Milliseconds(50);
  options.engine.snapshot_window_bytes = 64 << 10;
  TestCoordinator coordinator(options);
  Site site(coordinator.address(), 1, 1);
  Job job(site);
  job.PauseBefore(2);
  coordinator.AwaitRound(1);
  RawPeer joiner(coordinator.address(), 9);
  ASSERT_TRUE(joiner.Register(joiner.MakeRegister()).ok());
  joiner.Open();
  joiner.Write(joiner.MakeHello());
  ASSERT_TRUE(joiner.Ready().ok());
  job.Resume();
  ExpectEqualEnds({&job.Await()}, coordinator.ExpectEqualHashes(1));
  EXPECT_EQ(coordinator.Group(9).state(), "syncing");
}

}  // namespace
}  // namespace isthmus::e2e
