// What the tests of attached jobs share: an engine that records events and lets tests wait for
// them, a clock moved by hand, and a socket path of their own.
#ifndef ISTHMUS_TESTS_WORKER_JOBS_FAKE_ENGINE_H_
#define ISTHMUS_TESTS_WORKER_JOBS_FAKE_ENGINE_H_

#include <absl/time/time.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// Answers nothing by itself: the test does. Thread-safe.
class FakeEngine : public JobEvents {
 public:
  void OnAttached(std::shared_ptr<JobSession> session) override {
    Record([&] { sessions_.push_back(std::move(session)); });
  }
  void OnStep(uint64_t session_id, std::vector<RankStep> steps) override {
    Record([&] { steps_.emplace_back(session_id, std::move(steps)); });
  }
  void OnLost(uint64_t session_id, const std::string& reason) override {
    Record([&] { lost_.emplace_back(session_id, reason); });
  }

  // Their memory is the server's alone then; AwaitAttached() counts on.
  void DropSessions() {
    Record([&] {
      for (auto& session : sessions_) session.reset();
    });
  }

  // The n-th event of its kind, from 0; waits for it and fails the test when it does not come.
  std::shared_ptr<JobSession> AwaitAttached(size_t n = 0) { return Await(sessions_, n); }
  std::pair<uint64_t, std::vector<RankStep>> AwaitStep(size_t n = 0) { return Await(steps_, n); }
  std::pair<uint64_t, std::string> AwaitLost(size_t n = 0) { return Await(lost_, n); }
  // Waits for step n or the loss of a session, whichever comes first; true for the step.
  bool StepBeforeLoss(size_t n) {
    MutexLock lock(&mu_);
    while (steps_.size() <= n && lost_.empty()) changed_.Wait(&mu_);
    return steps_.size() > n;
  }

 private:
  template <typename F>
  void Record(F&& f) {
    MutexLock lock(&mu_);
    f();
    changed_.NotifyAll();
  }
  template <typename T>
  T Await(std::vector<T>& events, size_t n) {
    MutexLock lock(&mu_);
    while (events.size() <= n) {
      if (!changed_.WaitFor(&mu_, std::chrono::seconds(60)) && events.size() <= n) {
        ADD_FAILURE() << "expected event " << n << " of its kind, got " << events.size();
        abort();  // threads of the test wait for what will not come
      }
    }
    return events[n];
  }

  Mutex mu_;
  CondVar changed_;
  std::vector<std::shared_ptr<JobSession>> sessions_;
  std::vector<std::pair<uint64_t, std::vector<RankStep>>> steps_;
  std::vector<std::pair<uint64_t, std::string>> lost_;
};

// Thread-safe.
class HandClock : public Clock {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mu_);
    return now_;
  }
  void Advance(absl::Duration by) {
    MutexLock lock(&mu_);
    now_ += by;
  }

 private:
  mutable Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_) = absl::UnixEpoch();
};

// A directory for one socket; gone with its owner.
class SocketDir {
 public:
  SocketDir() : dir_("/tmp/isthmus-jobs-XXXXXX") {
    if (mkdtemp(dir_.data()) == nullptr) abort();
  }
  ~SocketDir() {
    unlink(path().c_str());
    rmdir(dir_.c_str());
  }
  std::string path() const { return dir_ + "/jobs.sock"; }

 private:
  std::string dir_;
};

inline std::unique_ptr<JobServer> StartServer(const std::string& path, uint32_t ranks,
                                              JobEvents* events) {
  JobServer::Options options;
  options.socket_path = path;
  options.ranks = ranks;
  options.name = "group 3";
  auto server = JobServer::Start(options, events);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    abort();
  }
  return *std::move(server);
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_WORKER_JOBS_FAKE_ENGINE_H_
