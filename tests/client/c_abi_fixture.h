// What the tests of the C ABI share: tensors, options, and a job that attaches to the real
// JobServer over a real socket, with an engine played by the test.
#ifndef ISTHMUS_TESTS_CLIENT_C_ABI_FIXTURE_H_
#define ISTHMUS_TESTS_CLIENT_C_ABI_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "client/isthmus.h"
#include "tests/worker/jobs/fake_engine.h"

namespace isthmus::c_abi {

inline float* Floats(void* elements) { return static_cast<float*>(elements); }

// "w" [2, 3] in group 0, a constant of 5 bytes, "b" scalar in group 1.
class Tensors {
 public:
  Tensors() {
    list_.push_back(Make("w", 2, shape_, 0));
    list_[0].data = w_;
    list_.push_back(Make("table", 0, nullptr, 0));
    list_[1].constant = 1;
    list_[1].size_bytes = 5;
    list_[1].data = "abcde";
    list_.push_back(Make("b", 0, nullptr, 1));
  }
  isthmus_tensor& operator[](size_t i) { return list_[i]; }
  const isthmus_tensor* data() const { return list_.data(); }
  size_t size() const { return list_.size(); }

 private:
  static isthmus_tensor Make(const char* name, int ndim, const int64_t* shape, uint32_t group) {
    isthmus_tensor tensor = {};
    tensor.struct_size = sizeof(tensor);
    tensor.name = name;
    tensor.ndim = ndim;
    tensor.shape = shape;
    tensor.parameter_group = group;
    return tensor;
  }
  static constexpr int64_t shape_[2] = {2, 3};
  static constexpr float w_[6] = {1, 2, 3, 4, 5, 6};
  std::vector<isthmus_tensor> list_;
};

struct Attached {
  isthmus_code code = ISTHMUS_INTERNAL;
  isthmus_session* session = nullptr;
  std::string error;
};

inline isthmus_attach_options Options(const std::string& path, int rank) {
  isthmus_attach_options options = {};
  options.struct_size = sizeof(options);
  options.socket_path = path.c_str();
  options.local_rank = rank;
  options.local_world_size = -1;
  return options;
}

inline Attached Attach(const isthmus_attach_options& options, const Tensors& tensors = Tensors()) {
  Attached result;
  result.code = isthmus_attach(&options, tensors.data(), tensors.size(), &result.session);
  result.error = isthmus_error_message(nullptr);
  return result;
}

inline constexpr float kLr[] = {0.5f, 0.25f};

inline isthmus_step_args StepArgs() {
  isthmus_step_args args = {};
  args.struct_size = sizeof(args);
  args.lr = kLr;
  args.parameter_groups = 2;
  args.samples = 7;
  args.loss = 1.5f;
  return args;
}

inline AttachReply SomeReply() {
  AttachReply reply;
  reply.group_id = 3;
  reply.group_index = 1;
  reply.group_count = 2;
  reply.round = 10;
  reply.rounds = 12;
  reply.first_rank = 4;  // of a group that spans machines
  reply.world_size = 6;
  reply.totals = {.steps = 300, .samples = 4800};
  return reply;
}

// A caller that waits until the daemon has said a thing, then stops.
struct Patience {
  std::string until;
  std::atomic<bool> over = false;  // by somebody else
  std::atomic<int> asked = 0;
  std::promise<void> heard;

  static int Ask(void* context, const char* what) {
    auto* self = static_cast<Patience*>(context);
    if (++self->asked == 1 && self->until.empty()) self->heard.set_value();
    if (self->over) return 0;
    return self->until.empty() || std::string(what).find(self->until) == std::string::npos;
  }
  isthmus_attach_options Options(const std::string& path, int rank) {
    isthmus_attach_options options = c_abi::Options(path, rank);
    options.keep_waiting = &Ask;
    options.waiting_context = this;
    return options;
  }
};

class CAbiTest : public testing::Test {
 protected:
  void Start(uint32_t ranks) { server_ = StartServer(dir_.path(), ranks, &engine_); }

  std::future<Attached> AttachAsync(int rank) {
    return std::async(std::launch::async, [this, rank] { return Attach(Options(path_, rank)); });
  }
  // All `ranks` attached, by rank.
  std::vector<isthmus_session*> AttachAll(int ranks) {
    std::vector<std::future<Attached>> pending;
    for (int rank = 0; rank < ranks; ++rank) pending.push_back(AttachAsync(rank));
    shared_ = engine_.AwaitAttached(attached_++);
    server_->FinishAttach(shared_->id(), SomeReply());
    std::vector<isthmus_session*> sessions;
    for (auto& one : pending) {
      const Attached attached = one.get();
      EXPECT_EQ(attached.code, ISTHMUS_OK) << attached.error;
      sessions.push_back(attached.session);
    }
    return sessions;
  }

  SocketDir dir_;
  const std::string path_ = dir_.path();
  FakeEngine engine_;
  std::unique_ptr<JobServer> server_;
  std::shared_ptr<JobSession> shared_;
  size_t attached_ = 0;
};

}  // namespace isthmus::c_abi

#endif  // ISTHMUS_TESTS_CLIENT_C_ABI_FIXTURE_H_
