// The packets of client/job_wire.h as C++ values: what a job says, validated, and what the daemon
// answers, as bytes. Pure functions.
#ifndef ISTHMUS_WORKER_JOBS_JOB_MESSAGES_H_
#define ISTHMUS_WORKER_JOBS_JOB_MESSAGES_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "client/job_wire.h"
#include "common/tensor/layout.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

struct JobHello {
  int32_t local_rank = 0;
  int32_t local_world_size = -1;  // -1: not stated
  uint32_t entry_count = 0;
  JobTerms terms;
};
struct JobEntry {
  uint32_t index = 0;
  std::variant<TensorSpec, ConstantSpec> spec;
};
struct JobFilled {};
struct JobStepBegin {
  RankStep step;  // lr and weight_decay within bounds and equally long
};
struct JobDetach {};
using JobMessage = std::variant<JobHello, JobEntry, JobFilled, JobStepBegin, JobDetach>;

// Errors: FAILED_PRECONDITION for another version; INVALID_ARGUMENT for anything that no
// libisthmus would send: wrong magic, size, type, count or flag, rates out of bounds.
absl::StatusOr<JobMessage> DecodeJobMessage(std::span<const std::byte> packet);

// For messages: "STEP_BEGIN".
const char* MessageName(const JobMessage& message);

// The packet's bytes; W is one of the structs of job_wire.h.
template <typename W>
std::span<const std::byte> PacketBytes(const W& packet) {
  return std::as_bytes(std::span(&packet, 1));
}

// How a job finds the buffers of its rank on a device.
struct JobDeviceHandles {
  Device::Uuid device;
  DeviceHandle parameters, gradients, gradients_ready, parameters_ready;
};
// `handles` unless buffers are the host's.
isthmus_wire_buffers MakeBuffersPacket(const Layout& layout, size_t entry_count,
                                       const std::optional<JobDeviceHandles>& handles);
// `rank` counts those of this server.
isthmus_wire_attached MakeAttachedPacket(const AttachReply& reply, uint32_t rank);
isthmus_wire_step_done MakeStepDonePacket(const StepReply& reply);
isthmus_wire_step_done MakeGoOnPacket();
isthmus_wire_waiting MakeWaitingPacket(const std::string& what);
// `status` is an error; its text is cut to what a packet holds.
isthmus_wire_error MakeErrorPacket(const absl::Status& status);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_JOB_MESSAGES_H_
