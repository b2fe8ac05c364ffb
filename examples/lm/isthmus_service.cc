#include "examples/lm/isthmus_service.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "examples/lm/stop_signal.h"

namespace isthmus::lm {
namespace {

absl::Status ToStatus(isthmus_code code, isthmus_session* session) {
  const std::string message =
      absl::StrCat(isthmus_code_name(code), ": ", isthmus_error_message(session));
  switch (code) {
    case ISTHMUS_OK:
    case ISTHMUS_END:
      return absl::OkStatus();
    case ISTHMUS_INVALID_ARGUMENT:
      return absl::InvalidArgumentError(message);
    case ISTHMUS_UNAVAILABLE:
      return absl::UnavailableError(message);
    case ISTHMUS_ABORTED:
      return absl::AbortedError(message);
    case ISTHMUS_FAILED_PRECONDITION:
      return absl::FailedPreconditionError(message);
    case ISTHMUS_DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(message);
    case ISTHMUS_RESOURCE_EXHAUSTED:
      return absl::ResourceExhaustedError(message);
    case ISTHMUS_INTERRUPTED:
      return absl::CancelledError("stopped by a signal");
    case ISTHMUS_INTERNAL:
      break;
  }
  return absl::InternalError(message);
}

std::vector<isthmus_tensor> Declare(const std::vector<TensorSpec>& tensors,
                                    const ParameterSet<float>& initial) {
  std::vector<isthmus_tensor> declared(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    isthmus_tensor& tensor = declared[i];
    tensor = {};
    tensor.struct_size = sizeof(tensor);
    tensor.name = tensors[i].name.c_str();
    tensor.dtype = ISTHMUS_FLOAT32;
    tensor.ndim = static_cast<int32_t>(tensors[i].shape.size());
    tensor.shape = tensors[i].shape.data();
    tensor.parameter_group = tensors[i].parameter_group;
    tensor.data = initial.pointers()[i];
  }
  return declared;
}

}  // namespace

IsthmusService::IsthmusService(IsthmusOptions options) : options_(std::move(options)) {}

IsthmusService::~IsthmusService() { Detach(); }

int IsthmusService::KeepWaiting(void* self, const char* what) {
  return static_cast<IsthmusService*>(self)->KeepWaiting(std::string(what)) ? 1 : 0;
}

bool IsthmusService::KeepWaiting(const std::string& what) {
  const absl::Duration waited = absl::Seconds(waiting_.Seconds());
  if (what != said_ && !what.empty() && waited >= options_.say_waiting_after) {
    said_ = what;
    std::fprintf(stderr, "isthmus-lm: the daemon is %s\n", what.c_str());
  }
  if (StopSignal() == 0) return true;
  if (session_ == nullptr) return false;  // nothing has begun
  if (!stop_seen_) stop_seen_ = waited;
  return waited < *stop_seen_ + options_.stop_grace;
}

absl::Status IsthmusService::Attach(const std::vector<TensorSpec>& tensors,
                                    const ParameterSet<float>& initial) {
  isthmus_attach_options options = {};
  options.struct_size = sizeof(options);
  options.socket_path = options_.socket_path.empty() ? nullptr : options_.socket_path.c_str();
  options.local_rank = options_.local_rank;
  options.local_world_size = -1;
  options.timeout_seconds = options_.attach_timeout_seconds;
  options.keep_waiting = &KeepWaiting;
  options.waiting_context = this;
  options.own_optimizer = options_.own_optimizer != nullptr ? 1 : 0;
  waiting_ = Stopwatch();
  said_.clear();
  const std::vector<isthmus_tensor> declared = Declare(tensors, initial);
  const isthmus_code code = isthmus_attach(&options, declared.data(), declared.size(), &session_);
  if (code == ISTHMUS_END) return absl::FailedPreconditionError("the run is already over");
  if (code != ISTHMUS_OK) return ToStatus(code, nullptr);

  parameters_.clear();
  gradients_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    parameters_.push_back(static_cast<float*>(isthmus_parameter(session_, i)));
    gradients_.push_back(static_cast<float*>(isthmus_gradient(session_, i)));
  }
  if (options_.own_optimizer != nullptr) {
    if (optimizer_ == nullptr) optimizer_ = options_.own_optimizer(tensors);
    if (!own_gradients_) own_gradients_.emplace(tensors);
    gradients_ = own_gradients_->pointers();
  }
  const isthmus_info info = Info();
  round_ = info.round;
  run_steps_ = info.run_steps;
  // Of before this process: rounds had other numbers of steps.
  paced_ = info.run_steps > 0 && info.run_steps != info.round * info.every_steps;
  local_steps_ = 0;
  return absl::OkStatus();
}

void IsthmusService::Detach() { isthmus_detach(std::exchange(session_, nullptr)); }

isthmus_info IsthmusService::Info() const {
  isthmus_info info = {};
  info.struct_size = sizeof(info);
  isthmus_get_info(session_, &info);
  return info;
}

Standing IsthmusService::standing() const {
  const isthmus_info info = Info();
  Standing standing = {info.group_id, info.group_index, info.group_count, info.rank,
                       info.world_size};
  const uint64_t counted = info.round * info.every_steps;
  if (optimizer_ == nullptr) {
    standing.round = info.round + local_steps_;
    standing.rounds = info.rounds;
    return standing;
  }
  if (info.every_steps > 0 && !paced_) {
    standing.round = counted + local_steps_;
    standing.rounds = info.rounds * info.every_steps;
    return standing;
  }
  // The run counts samples or time, or is paced: nobody knows how many steps it will have. As many
  // each round as so far, of the site that takes most.
  standing.round = info.run_steps + local_steps_;
  if (info.rounds > 0 && info.round > 0) {
    standing.rounds = std::max(info.rounds * info.run_steps / info.round, standing.round) + 1;
  }
  return standing;
}

absl::StatusOr<StepOutput> IsthmusService::Step(const StepInput& input) {
  isthmus_step_args args = {};
  args.struct_size = sizeof(args);
  args.lr = input.rates.learning_rate.data();
  args.weight_decay = input.rates.weight_decay.data();
  args.parameter_groups = kParameterGroups;
  args.skip = input.skip ? 1 : 0;
  if (optimizer_ != nullptr) {
    // A gradient that is unusable is a step not taken, and no reason to drop the steps before it.
    if (!input.skip) optimizer_->Step(input.rates, parameters_, gradients_);
    args.skip = 0;
  }
  args.samples = input.samples;
  args.loss = input.loss;
  isthmus_step_result result = {};
  result.struct_size = sizeof(result);
  const uint32_t every = Info().every_steps;  // up to here: the step may change it
  waiting_ = Stopwatch();
  stop_seen_.reset();
  const isthmus_code code = isthmus_step(session_, &args, &result);
  if (code != ISTHMUS_OK && code != ISTHMUS_END) return ToStatus(code, session_);

  // The end may come with the last round or instead of one; the round number tells.
  StepOutput output;
  output.ended = code == ISTHMUS_END;
  const bool exchanged = result.round > round_;
  if (output.ended) {
    local_steps_ = 0;
  } else if (optimizer_ == nullptr) {
    // With overlap this step's round is given with the next, but for the run's last.
    const isthmus_info info = Info();
    const bool under_way =
        info.overlap_steps > 0 && (info.rounds == 0 || result.round != info.rounds);
    local_steps_ = under_way ? 1 : 0;
  } else {
    // Of these the round has its own; with overlap the others come after it.
    const isthmus_info info = Info();
    const uint64_t steps = local_steps_ + 1;
    paced_ |= info.every_steps != every;
    if (every > 0) {
      // With overlap the round that is given may have had another number of them.
      const uint64_t given = paced_ ? info.run_steps - run_steps_ : (result.round - round_) * every;
      local_steps_ = steps - std::min(steps, given);
    } else {
      local_steps_ = exchanged ? std::min<uint64_t>(steps, info.overlap_steps) : steps;
    }
  }
  round_ = std::max(round_, result.round);
  run_steps_ = std::max(run_steps_, Info().run_steps);
  output.applied = exchanged || local_steps_ > 0;
  output.round = standing().round;
  output.loss = result.loss;
  output.blocked_seconds = result.blocked_seconds;
  output.local_seconds = result.local_seconds;
  output.peer_wait_seconds = result.peer_wait_seconds;
  output.link_wait_seconds = result.link_wait_seconds;
  return output;
}

}  // namespace isthmus::lm
