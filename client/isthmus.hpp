// libisthmus for C++20: the C calls of isthmus.h with ownership, spans and results. Header-only,
// free of exceptions of its own; needs the standard library and libisthmus.so.
//
//   auto session = isthmus::client::Session::Attach({}, tensors);
//   while (session.ok()) {
//     ... session->Parameter(i) -> session->Gradient(i) ...
//     if (auto done = session->Step({.lr = lr}); !done.ok()) break;  // done.status().end()?
//   }
#ifndef ISTHMUS_CLIENT_ISTHMUS_HPP_
#define ISTHMUS_CLIENT_ISTHMUS_HPP_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "client/isthmus.h"

namespace isthmus::client {

// A code of isthmus.h and what happened in words.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(isthmus_code code, std::string message) : code_(code), message_(std::move(message)) {}
  bool ok() const { return code_ == ISTHMUS_OK; }
  // The run is over: neither ok() nor an error.
  bool end() const { return code_ == ISTHMUS_END; }
  isthmus_code code() const { return code_; }
  const std::string& message() const { return message_; }
  // "ABORTED: group 3, rank 0: ..."
  std::string ToString() const { return std::string(isthmus_code_name(code_)) + ": " + message_; }

 private:
  isthmus_code code_ = ISTHMUS_OK;
  std::string message_;
};

// A T, or the status that says why there is none. Dereference only when ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& operator*() { return *value_; }
  T* operator->() { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

// One entry of the attach list. `data` may be empty (zeros) or has to hold all of it; it is read
// during Attach only.
struct Tensor {
  static Tensor Trained(std::string name, std::vector<int64_t> shape,
                        std::span<const float> data = {}, uint32_t parameter_group = 0) {
    return {std::move(name), std::move(shape), parameter_group, false, std::as_bytes(data)};
  }
  static Tensor Constant(std::string name, std::span<const std::byte> data) {
    return {std::move(name), {}, 0, true, data};
  }
  std::string name;
  std::vector<int64_t> shape;
  uint32_t parameter_group = 0;
  bool constant = false;
  std::span<const std::byte> data;
  isthmus_dtype dtype = ISTHMUS_FLOAT32;  // of trained tensors, the same for all
};

struct AttachOptions {
  std::string socket_path;  // empty: the environment's ISTHMUS_SOCKET
  int32_t local_rank = -1;  // as in isthmus_attach_options
  int32_t local_world_size = -1;
  double timeout_seconds = 0;
  isthmus_memory memory = ISTHMUS_HOST_MEMORY;
  bool own_optimizer = false;  // the job steps by itself: no gradients here
  // As in isthmus_attach_options: false ends the call with ISTHMUS_INTERRUPTED. Does not throw;
  // kept by the session.
  std::function<bool(const char* what)> keep_waiting;
};

struct StepArgs {
  std::span<const float> lr;            // [parameter groups]; not read with an own optimizer
  std::span<const float> weight_decay;  // the same, or empty for 0
  uint64_t samples = 1;
  float loss = 0;
  bool skip = false;
  void* stream = nullptr;  // as in isthmus_step_args
};

// Move-only; detaches when it goes, but in a forked child, where it leaves its parent's session
// alone (isthmus.h says what a child may do). Used by one thread at a time.
class Session {
 public:
  static Result<Session> Attach(const AttachOptions& options, std::span<const Tensor> tensors);

  // Of tensor `index` in the attach list; empty when it is of the other kind. Valid until detach.
  // T has the size of the attach list's dtype: float, or any 16-bit type for bfloat16. Device
  // pointers with ISTHMUS_DEVICE_MEMORY.
  template <typename T = float>
  std::span<T> Parameter(size_t index) {
    return {As<T>(isthmus_parameter(get(), index)), Of(index)};
  }
  template <typename T = float>
  std::span<T> Gradient(size_t index) {
    T* const data = As<T>(isthmus_gradient(get(), index));
    return {data, data == nullptr ? 0 : Of(index)};
  }
  std::span<std::byte> Constant(size_t index) {
    auto* data = static_cast<std::byte*>(isthmus_constant(get(), index));
    return {data, data == nullptr ? 0 : sizes_[index]};
  }
  template <typename T = float>
  std::span<T> FlatParameters() {
    return {As<T>(isthmus_flat_parameters(get())), isthmus_flat_length(get())};
  }
  template <typename T = float>
  std::span<T> FlatGradients() {
    T* const data = As<T>(isthmus_flat_gradients(get()));
    return {data, data == nullptr ? 0 : isthmus_flat_length(get())};
  }

  isthmus_info Info() {
    isthmus_info info = {};
    info.struct_size = sizeof(info);
    isthmus_get_info(get(), &info);
    return info;
  }

  // isthmus_read_anchor(): a place for each entry of the attach list, nullptr where it is not
  // wanted. The round that they are of.
  Result<uint64_t> ReadAnchor(std::span<void* const> tensors) {
    uint64_t round = 0;
    const isthmus_code code = isthmus_read_anchor(get(), tensors.data(), tensors.size(), &round);
    if (code != ISTHMUS_OK) return ToStatus(code);
    return round;
  }

  Status StepBegin(const StepArgs& args);
  // Whether StepWait() would not block; waits for that at most so long.
  Result<bool> StepPoll(double seconds) {
    const isthmus_code code = isthmus_step_poll(get(), seconds);
    if (code == ISTHMUS_DEADLINE_EXCEEDED) return false;
    if (code != ISTHMUS_OK) return ToStatus(code);
    return true;
  }
  // After ISTHMUS_INTERRUPTED it may be called again.
  Result<isthmus_step_result> StepWait();
  // Both. The status is end() once the run is over.
  Result<isthmus_step_result> Step(const StepArgs& args) {
    if (Status begun = StepBegin(args); !begun.ok()) return begun;
    return StepWait();
  }

 private:
  struct Detach {
    void operator()(isthmus_session* session) const { isthmus_detach(session); }
  };
  Session() = default;
  isthmus_session* get() const { return session_.get(); }
  template <typename T>
  static T* As(void* elements) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 2);
    return static_cast<T*>(elements);
  }
  // Elements of a trained tensor.
  size_t Of(size_t index) const {
    return isthmus_parameter(get(), index) == nullptr ? 0 : sizes_[index];
  }
  Status ToStatus(isthmus_code code) const {
    return {code, code > ISTHMUS_END ? isthmus_error_message(get()) : ""};
  }

  // On the heap: it stays where it is when the session moves.
  std::unique_ptr<std::function<bool(const char*)>> keep_waiting_;
  std::unique_ptr<isthmus_session, Detach> session_;
  std::vector<size_t> sizes_;  // by entry: elements, or bytes of constants
};

inline Result<Session> Session::Attach(const AttachOptions& options,
                                       std::span<const Tensor> tensors) {
  Session made;
  std::vector<isthmus_tensor> list;
  for (const Tensor& tensor : tensors) {
    size_t elements = 1;
    for (int64_t extent : tensor.shape) elements *= static_cast<size_t>(extent);
    const size_t size = tensor.constant ? tensor.data.size() : elements;
    const size_t element_bytes = tensor.dtype == ISTHMUS_BFLOAT16 ? 2 : 4;
    if (!tensor.constant && !tensor.data.empty() &&
        tensor.data.size() / element_bytes != elements) {
      return Status(ISTHMUS_INVALID_ARGUMENT,
                    "tensor '" + tensor.name + "': expected data of " + std::to_string(elements) +
                        " elements, got " + std::to_string(tensor.data.size() / element_bytes));
    }
    isthmus_tensor entry = {};
    entry.struct_size = sizeof(entry);
    entry.name = tensor.name.c_str();
    entry.dtype = tensor.dtype;
    entry.ndim = static_cast<int32_t>(tensor.shape.size());
    entry.shape = tensor.shape.data();
    entry.parameter_group = tensor.parameter_group;
    entry.constant = tensor.constant ? 1 : 0;
    entry.size_bytes = tensor.constant ? size : 0;
    entry.data = tensor.data.data();
    list.push_back(entry);
    made.sizes_.push_back(size);
  }
  isthmus_attach_options given = {};
  given.struct_size = sizeof(given);
  given.socket_path = options.socket_path.empty() ? nullptr : options.socket_path.c_str();
  given.local_rank = options.local_rank;
  given.local_world_size = options.local_world_size;
  given.timeout_seconds = options.timeout_seconds;
  given.memory = options.memory;
  given.own_optimizer = options.own_optimizer ? 1 : 0;
  if (options.keep_waiting) {
    made.keep_waiting_ = std::make_unique<std::function<bool(const char*)>>(options.keep_waiting);
    given.waiting_context = made.keep_waiting_.get();
    given.keep_waiting = [](void* context, const char* what) noexcept -> int {
      return (*static_cast<std::function<bool(const char*)>*>(context))(what) ? 1 : 0;
    };
  }
  isthmus_session* session = nullptr;
  const isthmus_code code = isthmus_attach(&given, list.data(), list.size(), &session);
  if (code != ISTHMUS_OK) return Status(code, isthmus_error_message(nullptr));
  made.session_.reset(session);
  return made;
}

inline Status Session::StepBegin(const StepArgs& args) {
  if (!args.weight_decay.empty() && args.weight_decay.size() != args.lr.size()) {
    return Status(ISTHMUS_INVALID_ARGUMENT, "weight_decay: expected one per lr, " +
                                                std::to_string(args.lr.size()) + ", got " +
                                                std::to_string(args.weight_decay.size()));
  }
  isthmus_step_args given = {};
  given.struct_size = sizeof(given);
  given.lr = args.lr.data();
  given.weight_decay = args.weight_decay.empty() ? nullptr : args.weight_decay.data();
  given.parameter_groups = static_cast<uint32_t>(args.lr.size());
  given.skip = args.skip ? 1 : 0;
  given.samples = args.samples;
  given.loss = args.loss;
  given.stream = args.stream;
  return ToStatus(isthmus_step_begin(get(), &given));
}

inline Result<isthmus_step_result> Session::StepWait() {
  isthmus_step_result result = {};
  result.struct_size = sizeof(result);
  const isthmus_code code = isthmus_step_wait(get(), &result);
  if (code != ISTHMUS_OK) return ToStatus(code);
  return result;
}

}  // namespace isthmus::client

#endif  // ISTHMUS_CLIENT_ISTHMUS_HPP_
