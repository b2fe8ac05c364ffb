#include "worker/jobs/job_messages.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "client/isthmus.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace isthmus {
namespace {

static_assert(static_cast<int>(DType::kFloat32) == ISTHMUS_FLOAT32);
static_assert(static_cast<int>(DType::kBFloat16) == ISTHMUS_BFLOAT16);
static_assert(static_cast<int>(JobMemory::kHost) == ISTHMUS_HOST_MEMORY);
static_assert(static_cast<int>(JobMemory::kDevice) == ISTHMUS_DEVICE_MEMORY);
static_assert(sizeof(isthmus_wire_buffers::device) == sizeof(Device::Uuid));
static_assert(sizeof(isthmus_wire_buffers::parameters) == sizeof(DeviceHandle));
static_assert(ISTHMUS_WIRE_MAX_ENTRIES == 2 * kMaxTensors);
static_assert(ISTHMUS_WIRE_MAX_NAME == kMaxNameBytes);
static_assert(ISTHMUS_WIRE_MAX_DIMS == kMaxDimensions);
static_assert(ISTHMUS_WIRE_MAX_PARAMETER_GROUPS == kMaxParameterGroups);
static_assert(ISTHMUS_MAX_RATE == RankStep::kMaxRate);
static_assert(ISTHMUS_MAX_SAMPLES == RankStep::kMaxSamples);

absl::Status Malformed(const char* what, uint64_t limit, uint64_t actual) {
  return absl::InvalidArgumentError(
      absl::StrCat("malformed packet: ", what, ": expected at most ", limit, ", got ", actual));
}

// The packet as a W, whose size it must have.
template <typename W>
absl::StatusOr<W> As(std::span<const std::byte> packet) {
  if (packet.size() != sizeof(W)) {
    return absl::InvalidArgumentError(
        absl::StrCat("malformed packet: expected ", sizeof(W), " bytes, got ", packet.size()));
  }
  W value;
  std::memcpy(&value, packet.data(), sizeof(W));
  return value;
}

absl::Status CheckHeader(std::span<const std::byte> packet) {
  isthmus_wire_header header = {};
  if (packet.size() >= sizeof(header)) std::memcpy(&header, packet.data(), sizeof(header));
  if (header.magic != ISTHMUS_WIRE_MAGIC) {
    return absl::InvalidArgumentError(
        absl::StrCat("malformed packet: ", packet.size(), " bytes that are not Isthmus's"));
  }
  if (header.version != ISTHMUS_WIRE_VERSION) {
    return absl::FailedPreconditionError(absl::StrCat(
        "job protocol: expected version ", ISTHMUS_WIRE_VERSION, ", got ", header.version));
  }
  if (header.size != packet.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("malformed packet: it says ", header.size, " bytes and has ", packet.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<JobMessage> DecodeEntry(const isthmus_wire_entry& entry) {
  if (entry.constant > 1) return Malformed("constant", 1, entry.constant);
  if (entry.name_size > kMaxNameBytes) return Malformed("name", kMaxNameBytes, entry.name_size);
  if (entry.ndim > kMaxDimensions) return Malformed("ndim", kMaxDimensions, entry.ndim);
  std::string name(entry.name, entry.name_size);
  if (entry.constant == 1) {
    return JobEntry{entry.index, ConstantSpec{std::move(name), entry.size_bytes}};
  }
  if (entry.dtype != ISTHMUS_FLOAT32 && entry.dtype != ISTHMUS_BFLOAT16) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor '", name, "': expected dtype ", ISTHMUS_FLOAT32, " (float32) or ",
                     ISTHMUS_BFLOAT16, " (bfloat16), got ", entry.dtype));
  }
  TensorSpec tensor;
  tensor.dtype = static_cast<DType>(entry.dtype);
  tensor.name = std::move(name);
  tensor.shape.assign(entry.shape, entry.shape + entry.ndim);
  tensor.parameter_group = entry.parameter_group;
  return JobEntry{entry.index, std::move(tensor)};
}

absl::Status CheckRates(const char* what, const std::vector<float>& rates) {
  for (size_t i = 0; i < rates.size(); ++i) {
    if (rates[i] >= 0 && rates[i] <= RankStep::kMaxRate) continue;
    return absl::InvalidArgumentError(absl::StrCat(what, "[", i, "]: expected a number from 0 to ",
                                                   RankStep::kMaxRate, ", got ", rates[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<StepWants> DecodeWants(uint32_t bits) {
  if (bits == ISTHMUS_WIRE_ANCHOR) return StepWants{.take = false, .give = false, .anchor = true};
  const StepWants wants{.give_first = (bits & ISTHMUS_WIRE_GIVE_FIRST) != 0,
                        .take = (bits & ISTHMUS_WIRE_TAKE) != 0,
                        .give = (bits & ISTHMUS_WIRE_GIVE) != 0};
  constexpr uint32_t kAll = ISTHMUS_WIRE_GIVE_FIRST | ISTHMUS_WIRE_TAKE | ISTHMUS_WIRE_GIVE;
  if (bits == 0 || bits > kAll || (wants.give_first && !wants.take)) {
    return absl::InvalidArgumentError(
        absl::StrCat("malformed packet: wants: expected what goes together, got ", bits));
  }
  return wants;
}

absl::StatusOr<JobMessage> DecodeStepBegin(const isthmus_wire_step_begin& begin) {
  if (begin.skip > 1) return Malformed("skip", 1, begin.skip);
  if (begin.parameter_groups > kMaxParameterGroups) {
    return Malformed("parameter_groups", kMaxParameterGroups, begin.parameter_groups);
  }
  RankStep step;
  step.lr.assign(begin.lr, begin.lr + begin.parameter_groups);
  step.weight_decay.assign(begin.weight_decay, begin.weight_decay + begin.parameter_groups);
  ISTHMUS_RETURN_IF_ERROR(CheckRates("lr", step.lr));
  ISTHMUS_RETURN_IF_ERROR(CheckRates("weight_decay", step.weight_decay));
  step.samples = begin.samples;
  step.loss = begin.loss;
  step.skip = begin.skip == 1;
  step.step = begin.step;
  step.steps = std::clamp<uint64_t>(begin.steps, 1, ContributionInfo::kMaxSteps);
  ISTHMUS_ASSIGN_OR_RETURN(step.wants, DecodeWants(begin.wants));
  return JobStepBegin{std::move(step)};
}

template <typename W>
W NewPacket(isthmus_wire_type type) {
  W packet = {};
  packet.header.magic = ISTHMUS_WIRE_MAGIC;
  packet.header.version = ISTHMUS_WIRE_VERSION;
  packet.header.type = static_cast<uint16_t>(type);
  packet.header.size = sizeof(W);
  return packet;
}

isthmus_code ToIsthmusCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return ISTHMUS_INVALID_ARGUMENT;
    case absl::StatusCode::kUnavailable:
      return ISTHMUS_UNAVAILABLE;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return ISTHMUS_ABORTED;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return ISTHMUS_FAILED_PRECONDITION;
    case absl::StatusCode::kDeadlineExceeded:
      return ISTHMUS_DEADLINE_EXCEEDED;
    case absl::StatusCode::kResourceExhausted:
      return ISTHMUS_RESOURCE_EXHAUSTED;
    default:
      return ISTHMUS_INTERNAL;
  }
}

}  // namespace

absl::StatusOr<JobMessage> DecodeJobMessage(std::span<const std::byte> packet) {
  ISTHMUS_RETURN_IF_ERROR(CheckHeader(packet));
  isthmus_wire_header header;
  std::memcpy(&header, packet.data(), sizeof(header));
  switch (header.type) {
    case ISTHMUS_WIRE_HELLO: {
      ISTHMUS_ASSIGN_OR_RETURN(const auto hello, As<isthmus_wire_hello>(packet));
      if (hello.memory > ISTHMUS_DEVICE_MEMORY) {
        return Malformed("memory", ISTHMUS_DEVICE_MEMORY, hello.memory);
      }
      if (hello.own_optimizer > 1) return Malformed("own_optimizer", 1, hello.own_optimizer);
      return JobHello{hello.local_rank,
                      hello.local_world_size,
                      hello.entry_count,
                      {static_cast<JobMemory>(hello.memory), hello.own_optimizer == 1}};
    }
    case ISTHMUS_WIRE_ENTRY: {
      ISTHMUS_ASSIGN_OR_RETURN(const auto entry, As<isthmus_wire_entry>(packet));
      return DecodeEntry(entry);
    }
    case ISTHMUS_WIRE_STEP_BEGIN: {
      ISTHMUS_ASSIGN_OR_RETURN(const auto begin, As<isthmus_wire_step_begin>(packet));
      return DecodeStepBegin(begin);
    }
    case ISTHMUS_WIRE_FILLED:
      ISTHMUS_RETURN_IF_ERROR(As<isthmus_wire_header>(packet).status());
      return JobFilled{};
    case ISTHMUS_WIRE_DETACH:
      ISTHMUS_RETURN_IF_ERROR(As<isthmus_wire_header>(packet).status());
      return JobDetach{};
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("malformed packet: type ", header.type, " is not for jobs to send"));
  }
}

const char* MessageName(const JobMessage& message) {
  constexpr const char* kNames[] = {"HELLO", "ENTRY", "FILLED", "STEP_BEGIN", "DETACH"};
  static_assert(std::size(kNames) == std::variant_size_v<JobMessage>);
  return kNames[message.index()];
}

isthmus_wire_buffers MakeBuffersPacket(const Layout& layout, size_t entry_count,
                                       const std::optional<JobDeviceHandles>& handles) {
  auto packet = NewPacket<isthmus_wire_buffers>(ISTHMUS_WIRE_BUFFERS);
  packet.flat_length = layout.length();
  packet.logical_length = layout.logical_length();
  packet.constants_bytes = layout.constants_bytes();
  packet.entry_count = static_cast<uint32_t>(entry_count);
  packet.parameter_groups = layout.parameter_groups();
  packet.memory = ISTHMUS_HOST_MEMORY;
  if (handles) {
    packet.memory = ISTHMUS_DEVICE_MEMORY;
    const auto copy = [](unsigned char* to, const auto& from) {
      std::memcpy(to, from.data(), from.size());
    };
    copy(packet.device, handles->device);
    copy(packet.parameters, handles->parameters);
    copy(packet.gradients, handles->gradients);
    copy(packet.gradients_ready, handles->gradients_ready);
    copy(packet.parameters_ready, handles->parameters_ready);
  }
  return packet;
}

isthmus_wire_attached MakeAttachedPacket(const AttachReply& reply, uint32_t rank) {
  auto packet = NewPacket<isthmus_wire_attached>(ISTHMUS_WIRE_ATTACHED);
  packet.group_id = reply.group_id;
  packet.group_index = reply.group_index;
  packet.group_count = reply.group_count;
  packet.rank = reply.first_rank + rank;
  packet.world_size = reply.world_size;
  packet.round = reply.round;
  packet.rounds = reply.rounds;
  packet.every_steps = reply.every_steps;
  packet.overlap_steps = reply.overlap_steps;
  packet.run_steps = reply.totals.steps;
  packet.run_samples = reply.totals.samples;
  return packet;
}

isthmus_wire_step_done MakeStepDonePacket(const StepReply& reply) {
  auto packet = NewPacket<isthmus_wire_step_done>(ISTHMUS_WIRE_STEP_DONE);
  packet.round = reply.round;
  packet.contributors = reply.contributors;
  packet.merged_here = reply.merged_here;
  packet.buckets = reply.buckets;
  packet.loss = reply.loss;
  packet.blocked_seconds = reply.blocked_seconds;
  packet.local_seconds = reply.local_seconds;
  packet.peer_wait_seconds = reply.peer_wait_seconds;
  packet.link_wait_seconds = reply.link_wait_seconds;
  packet.end = reply.end ? 1 : 0;
  packet.nonfinite = reply.nonfinite;
  packet.run_steps = reply.totals.steps;
  packet.run_samples = reply.totals.samples;
  packet.every_steps = reply.every_steps;
  packet.overlap_steps = reply.overlap_steps;
  return packet;
}

isthmus_wire_step_done MakeGoOnPacket() {
  auto packet = NewPacket<isthmus_wire_step_done>(ISTHMUS_WIRE_STEP_DONE);
  packet.end = ISTHMUS_WIRE_GO_ON;
  return packet;
}

isthmus_wire_waiting MakeWaitingPacket(const std::string& what) {
  auto packet = NewPacket<isthmus_wire_waiting>(ISTHMUS_WIRE_WAITING);
  const size_t size = std::min<size_t>(what.size(), ISTHMUS_WIRE_MAX_TEXT);
  packet.text_size = static_cast<uint32_t>(size);
  std::memcpy(packet.text, what.data(), size);
  return packet;
}

isthmus_wire_error MakeErrorPacket(const absl::Status& status) {
  ISTHMUS_CHECK(!status.ok());
  auto packet = NewPacket<isthmus_wire_error>(ISTHMUS_WIRE_ERROR);
  packet.code = ToIsthmusCode(status.code());
  const size_t size = std::min<size_t>(status.message().size(), ISTHMUS_WIRE_MAX_TEXT);
  packet.text_size = static_cast<uint32_t>(size);
  std::memcpy(packet.text, status.message().data(), size);
  return packet;
}

}  // namespace isthmus
