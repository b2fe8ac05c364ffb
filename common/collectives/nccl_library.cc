#include <absl/strings/str_cat.h>
#include <dlfcn.h>
#include <nccl.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "common/base/status_macros.h"
#include "common/collectives/nccl.h"
#include "common/collectives/nccl_places.h"
#include "common/device/cuda_stream.h"

namespace isthmus {
namespace {

static_assert(sizeof(Nccl::Id) == NCCL_UNIQUE_ID_BYTES);

// The functions by their names in the library.
struct Functions {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) comm_init_rank_config;
  decltype(&ncclCommGetAsyncError) comm_get_async_error;
  decltype(&ncclCommAbort) comm_abort;
  decltype(&ncclGroupStart) group_start;
  decltype(&ncclGroupEnd) group_end;
  decltype(&ncclReduce) reduce;
  decltype(&ncclReduceScatter) reduce_scatter;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclGetErrorString) get_error_string;
  decltype(&ncclGetLastError) get_last_error;
};

absl::Status Find(void* library, const char* name, void** function) {
  *function = ::dlsym(library, name);
  if (*function != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("NCCL: libnccl.so.2 has no ", name));
}

absl::StatusOr<Functions> FindAll(void* library) {
  Functions f;
  const auto find = [&](const char* name, auto* function) {
    return Find(library, name, reinterpret_cast<void**>(function));
  };
  ISTHMUS_RETURN_IF_ERROR(find("ncclGetVersion", &f.get_version));
  ISTHMUS_RETURN_IF_ERROR(find("ncclGetUniqueId", &f.get_unique_id));
  ISTHMUS_RETURN_IF_ERROR(find("ncclCommInitRankConfig", &f.comm_init_rank_config));
  ISTHMUS_RETURN_IF_ERROR(find("ncclCommGetAsyncError", &f.comm_get_async_error));
  ISTHMUS_RETURN_IF_ERROR(find("ncclCommAbort", &f.comm_abort));
  ISTHMUS_RETURN_IF_ERROR(find("ncclGroupStart", &f.group_start));
  ISTHMUS_RETURN_IF_ERROR(find("ncclGroupEnd", &f.group_end));
  ISTHMUS_RETURN_IF_ERROR(find("ncclReduce", &f.reduce));
  ISTHMUS_RETURN_IF_ERROR(find("ncclReduceScatter", &f.reduce_scatter));
  ISTHMUS_RETURN_IF_ERROR(find("ncclBroadcast", &f.broadcast));
  ISTHMUS_RETURN_IF_ERROR(find("ncclAllGather", &f.all_gather));
  ISTHMUS_RETURN_IF_ERROR(find("ncclAllReduce", &f.all_reduce));
  ISTHMUS_RETURN_IF_ERROR(find("ncclGetErrorString", &f.get_error_string));
  ISTHMUS_RETURN_IF_ERROR(find("ncclGetLastError", &f.get_last_error));
  return f;
}

ncclComm_t Of(Nccl::Comm* comm) { return reinterpret_cast<ncclComm_t>(comm); }
CudaStream& Of(DeviceStream& stream) { return static_cast<CudaStream&>(stream); }

// The library stays loaded until the process ends: its threads may run until then.
class NcclLibrary : public Nccl {
 public:
  explicit NcclLibrary(const Functions& functions) : nccl_(functions) {}

  std::string version() const override {
    int number = 0;
    nccl_.get_version(&number);
    return absl::StrCat(number / 10000, ".", number / 100 % 100, ".", number % 100);
  }

  absl::StatusOr<Id> MakeId() override {
    ncclUniqueId unique;
    ISTHMUS_RETURN_IF_ERROR(Check(nccl_.get_unique_id(&unique), "ncclGetUniqueId"));
    Id id;
    std::memcpy(id.data(), unique.internal, id.size());
    return id;
  }

  absl::StatusOr<Comm*> Begin(const Id& id, uint32_t size, uint32_t rank,
                              DeviceStream& stream) override {
    UseDevice(Of(stream).device());
    ncclUniqueId unique;
    std::memcpy(unique.internal, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    ISTHMUS_RETURN_IF_ERROR(Check(nccl_.comm_init_rank_config(&comm, static_cast<int>(size), unique,
                                                              static_cast<int>(rank), &config),
                                  "ncclCommInitRankConfig"));
    return reinterpret_cast<Comm*>(comm);
  }

  absl::StatusOr<bool> Poll(Comm* comm) override {
    ncclResult_t state = ncclSuccess;
    ISTHMUS_RETURN_IF_ERROR(
        Check(nccl_.comm_get_async_error(Of(comm), &state), "ncclCommGetAsyncError"));
    if (state == ncclInProgress) return false;
    ISTHMUS_RETURN_IF_ERROR(Check(state, "the communicator", Of(comm)));
    return true;
  }

  void Abort(Comm* comm) override { nccl_.comm_abort(Of(comm)); }

  void BeginGroup() override { nccl_.group_start(); }
  absl::Status EndGroup() override { return Check(nccl_.group_end(), "ncclGroupEnd"); }

  absl::Status Reduce(Comm* comm, DeviceStream& stream, const float* input, float* output,
                      size_t count, uint32_t root) override {
    UseDevice(Of(stream).device());
    return Check(nccl_.reduce(input, output, count, ncclFloat32, ncclAvg, static_cast<int>(root),
                              Of(comm), Of(stream).stream()),
                 "ncclReduce", Of(comm));
  }
  absl::Status ReduceScatter(Comm* comm, DeviceStream& stream, const float* input, float* output,
                             size_t count) override {
    UseDevice(Of(stream).device());
    return Check(nccl_.reduce_scatter(input, output, count, ncclFloat32, ncclAvg, Of(comm),
                                      Of(stream).stream()),
                 "ncclReduceScatter", Of(comm));
  }
  absl::Status Broadcast(Comm* comm, DeviceStream& stream, const void* input, void* output,
                         size_t size_bytes, uint32_t root) override {
    UseDevice(Of(stream).device());
    return Check(nccl_.broadcast(input, output, size_bytes, ncclUint8, static_cast<int>(root),
                                 Of(comm), Of(stream).stream()),
                 "ncclBroadcast", Of(comm));
  }
  absl::Status AllGather(Comm* comm, DeviceStream& stream, const void* input, void* output,
                         size_t size_bytes) override {
    UseDevice(Of(stream).device());
    return Check(
        nccl_.all_gather(input, output, size_bytes, ncclUint8, Of(comm), Of(stream).stream()),
        "ncclAllGather", Of(comm));
  }
  absl::Status Max(Comm* comm, DeviceStream& stream, uint32_t* word) override {
    UseDevice(Of(stream).device());
    return Check(
        nccl_.all_reduce(word, word, 1, ncclUint32, ncclMax, Of(comm), Of(stream).stream()),
        "ncclAllReduce", Of(comm));
  }

 private:
  absl::Status Check(ncclResult_t result, const char* call, ncclComm_t comm = nullptr) const {
    if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
    const char* const more = nccl_.get_last_error(comm);
    return absl::InternalError(absl::StrCat("NCCL: ", call, ": ", nccl_.get_error_string(result),
                                            more == nullptr || *more == '\0' ? "" : ": ",
                                            more == nullptr ? "" : more));
  }

  const Functions nccl_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Nccl>> OpenNccl() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  void* library = nullptr;
  std::string why;  // of the first place: what people look for
  for (const std::string& place : NcclPlaces(program)) {
    library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    if (why.empty()) why = ::dlerror();
  }
  if (library == nullptr) return absl::FailedPreconditionError(absl::StrCat("NCCL: ", why));
  ISTHMUS_ASSIGN_OR_RETURN(const Functions functions, FindAll(library));
  return std::make_shared<NcclLibrary>(functions);
}

}  // namespace isthmus
