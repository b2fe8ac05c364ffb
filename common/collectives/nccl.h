// What of NCCL is used, behind an interface: the library itself, found when a program asks for it,
// or a test's. Thin: who waits, for how long, and what follows is nccl_communicator.h's.
#ifndef ISTHMUS_COMMON_COLLECTIVES_NCCL_H_
#define ISTHMUS_COMMON_COLLECTIVES_NCCL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/device/device.h"

namespace isthmus {

// Calls return at once; Poll() says when what was asked for is under way on its stream. Of one Comm
// one thread at a time. Errors: INTERNAL with the call and what NCCL says.
class Nccl {
 public:
  // One rank's end of a communicator.
  struct Comm;
  using Id = std::array<std::byte, 128>;

  virtual ~Nccl() = default;
  virtual std::string version() const = 0;

  // What the ranks of one communicator have in common; made by one of them, valid once.
  virtual absl::StatusOr<Id> MakeId() = 0;
  // `stream` is of the rank's device. In a group (below) for the ranks of one thread.
  virtual absl::StatusOr<Comm*> Begin(const Id& id, uint32_t size, uint32_t rank,
                                      DeviceStream& stream) = 0;
  // False while something that was asked for has yet to begin; else true, or what went wrong in the
  // communicator since, here or at another rank.
  virtual absl::StatusOr<bool> Poll(Comm* comm) = 0;
  // Ends and frees it. What waits in it on a stream goes on, with undefined results.
  virtual void Abort(Comm* comm) = 0;

  // Calls of this thread between these begin together.
  virtual void BeginGroup() = 0;
  virtual absl::Status EndGroup() = 0;

  // Means over ranks, of [count] floats: at `root`; or of [size * count], the rank-th part each.
  virtual absl::Status Reduce(Comm* comm, DeviceStream& stream, const float* input, float* output,
                              size_t count, uint32_t root) = 0;
  virtual absl::Status ReduceScatter(Comm* comm, DeviceStream& stream, const float* input,
                                     float* output, size_t count) = 0;
  virtual absl::Status Broadcast(Comm* comm, DeviceStream& stream, const void* input, void* output,
                                 size_t size_bytes, uint32_t root) = 0;
  // `output` is [size * size_bytes].
  virtual absl::Status AllGather(Comm* comm, DeviceStream& stream, const void* input, void* output,
                                 size_t size_bytes) = 0;
  virtual absl::Status Max(Comm* comm, DeviceStream& stream, uint32_t* word) = 0;
};

// libnccl.so.2, by dlopen from where nccl_places.h says: programs start where there is none.
// Errors: FAILED_PRECONDITION with what is missing, or where this was built without CUDA or without
// nccl.h.
absl::StatusOr<std::shared_ptr<Nccl>> OpenNccl();

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_NCCL_H_
