// Stand-ins for isthmus-coordinator, isthmus-worker and isthmus-lm, so that the rehearsal itself
// can be tested: they keep the contract of flags, files and exit codes, and train nothing. Which
// one it is follows from the name it is run by.
//
// FAKE_FAILURE=job|worker|coordinator lets that one fail in round 3 or at its start;
// FAKE_FAILURE=hash lets the sites' hashes differ; FAKE_FAILURE=stubborn ignores SIGTERM.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "isthmus/v1/control.grpc.pb.h"

namespace {

namespace v1 = isthmus::v1;

std::map<std::string, std::string> flags;

bool Fails(const char* what) {
  const char* failure = std::getenv("FAKE_FAILURE");
  return failure != nullptr && std::strcmp(failure, what) == 0;
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void Pause() { std::this_thread::sleep_for(std::chrono::milliseconds(10)); }

std::atomic<bool> terminated{false};

// Groups register with a heartbeat; once all are there, every group's heartbeat advances the round.
class Coordinator final : public v1::Control::Service {
 public:
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                         v1::HeartbeatReply* reply) override {
    const std::lock_guard<std::mutex> lock(mu_);
    v1::GroupStatus& group = groups_[request->identity().group_id()];
    group.set_group_id(request->identity().group_id());
    group.set_state("active");
    *group.mutable_heartbeat() = *request;
    if (groups_.size() == std::stoul(flags["--start-groups"]) && committed_ < Rounds()) {
      ++committed_;
    }
    if (Fails("coordinator") && committed_ == 3) _exit(9);
    reply->set_running(committed_ < Rounds());
    return grpc::Status::OK;
  }

  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusReply* reply) override {
    const std::lock_guard<std::mutex> lock(mu_);
    reply->set_rounds_committed(committed_);
    reply->set_round(std::min(committed_ + 1, Rounds()));
    reply->set_state(committed_ == 0          ? v1::GetStatusReply::WAITING_FOR_GROUPS
                     : committed_ == Rounds() ? v1::GetStatusReply::ENDED
                                              : v1::GetStatusReply::TRAINING);
    reply->set_parameters(1000);
    for (auto& [id, group] : groups_) *reply->add_groups() = group;
    return grpc::Status::OK;
  }

 private:
  static uint64_t Rounds() { return std::stoull(flags["--rounds"]); }

  std::mutex mu_;
  uint64_t committed_ = 0;
  std::map<uint32_t, v1::GroupStatus> groups_;
};

int RunCoordinator() {
  Coordinator service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const std::string file = flags["--port-file"];
  std::ofstream(file + ".tmp") << "127.0.0.1:" << port << "\n";
  std::rename((file + ".tmp").c_str(), file.c_str());
  while (!terminated) Pause();
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

int RunWorker() {
  std::ofstream(flags["--socket"]) << "";
  const auto stub = v1::Control::NewStub(
      grpc::CreateChannel(flags["--coordinator"], grpc::InsecureChannelCredentials()));
  v1::HeartbeatRequest request;
  const uint32_t group = static_cast<uint32_t>(std::stoul(flags["--group"]));
  request.mutable_identity()->set_group_id(group);
  // As the real one: no group is ready before its job has attached.
  while (!Exists(flags["--socket"] + ".attached") && !terminated) Pause();
  for (int beats = 0; !terminated; ++beats) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    v1::HeartbeatReply reply;
    const grpc::Status status = stub->Heartbeat(&context, request, &reply);
    if (status.ok() && !reply.running()) {
      if (request.hash_round() != 0) break;
      v1::GetStatusReply run;
      grpc::ClientContext ask;
      stub->GetStatus(&ask, {}, &run);
      request.set_hash_round(run.rounds_committed());
      request.set_state_hash(Fails("hash") ? group : 42);
    }
    if (Fails("worker") && beats == 3) {
      std::fprintf(stderr, "the worker's last words\n");
      return 7;
    }
    Pause();
  }
  unlink(flags["--socket"].c_str());  // tells our jobs to end
  return 0;
}

int RunJob() {
  const std::string socket = std::getenv("ISTHMUS_SOCKET");
  if (Fails("job")) {
    std::fprintf(stderr, "the job's last words\n");
    return 5;
  }
  // A killed worker's socket vanishes too: "attach again" for a second.
  std::ofstream(socket + ".attached") << "";
  for (int missing = 0; missing < 100 && !terminated; Pause()) {
    missing = Exists(socket) ? 0 : missing + 1;
  }
  if (flags.contains("--report") && std::strcmp(std::getenv("LOCAL_RANK"), "0") == 0) {
    std::ofstream(flags["--report"])
        << R"({"parameters": 1000, "tokens_per_step": 8, "validation_loss": 1.5,
               "unigram_entropy": 3.0, "step_seconds": 0.2, "compute_seconds": 0.1,
               "communication_ratio": 0.5, "sample": "hello"})";
  }
  return terminated ? 143 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGTERM, [](int) {
    if (!Fails("stubborn")) terminated = true;
  });
  for (int i = 1; i + 1 < argc; ++i) flags[argv[i]] = argv[i + 1];
  const std::string name = std::strrchr(argv[0], '/') + 1;
  if (name == "isthmus-coordinator") return RunCoordinator();
  if (name == "isthmus-worker") return RunWorker();
  return RunJob();
}
