// Packets as a job would send them, for tests that break the protocol on purpose.
#ifndef ISTHMUS_TESTS_WORKER_JOBS_PACKETS_H_
#define ISTHMUS_TESTS_WORKER_JOBS_PACKETS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "client/job_wire.h"

namespace isthmus {

using Packet = std::vector<std::byte>;

template <typename W>
W NewWire(isthmus_wire_type type) {
  W wire = {};
  wire.header.magic = ISTHMUS_WIRE_MAGIC;
  wire.header.version = ISTHMUS_WIRE_VERSION;
  wire.header.type = static_cast<uint16_t>(type);
  wire.header.size = sizeof(W);
  return wire;
}

template <typename W>
Packet ToPacket(const W& wire) {
  Packet packet(sizeof(W));
  std::memcpy(packet.data(), &wire, sizeof(W));
  return packet;
}

inline Packet BarePacket(isthmus_wire_type type) {
  struct Bare {
    isthmus_wire_header header;
  };
  return ToPacket(NewWire<Bare>(type));
}

inline Packet HelloPacket(int rank, uint32_t entries = 1, int world_size = -1, uint32_t memory = 0,
                          uint32_t own_optimizer = 0) {
  auto wire = NewWire<isthmus_wire_hello>(ISTHMUS_WIRE_HELLO);
  wire.local_rank = rank;
  wire.local_world_size = world_size;
  wire.entry_count = entries;
  wire.memory = memory;
  wire.own_optimizer = own_optimizer;
  return ToPacket(wire);
}

// A trained vector.
inline Packet EntryPacket(uint32_t index = 0, const std::string& name = "w", int64_t length = 8,
                          int32_t dtype = 0) {
  auto wire = NewWire<isthmus_wire_entry>(ISTHMUS_WIRE_ENTRY);
  wire.index = index;
  wire.dtype = dtype;
  wire.ndim = 1;
  wire.shape[0] = length;
  wire.name_size = static_cast<uint32_t>(name.size());
  std::memcpy(wire.name, name.data(), name.size());
  return ToPacket(wire);
}

inline Packet StepPacket(float lr = 0.5f, uint32_t groups = 1, uint64_t samples = 1,
                         uint32_t wants = ISTHMUS_WIRE_TAKE | ISTHMUS_WIRE_GIVE,
                         uint64_t step = 0) {
  auto wire = NewWire<isthmus_wire_step_begin>(ISTHMUS_WIRE_STEP_BEGIN);
  wire.parameter_groups = groups;
  for (uint32_t i = 0; i < groups && i < ISTHMUS_WIRE_MAX_PARAMETER_GROUPS; ++i) wire.lr[i] = lr;
  wire.samples = samples;
  wire.wants = wants;
  wire.step = step;
  return ToPacket(wire);
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_WORKER_JOBS_PACKETS_H_
