#include "worker/jobs/shared_buffers.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <limits>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/jobs/attach_table.h"

namespace isthmus {
namespace {

absl::Status Exhausted(const char* name, uint64_t size_bytes, const char* call) {
  return absl::ResourceExhaustedError(
      absl::StrCat(name, " buffer of ", size_bytes, " bytes: ", call, ": ", std::strerror(errno)));
}

absl::StatusOr<UniqueFd> CreateMemfd(const char* name, uint64_t size_bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return Exhausted(name, size_bytes, "memfd_create");
  if (size_bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) ||
      ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return Exhausted(name, size_bytes, "ftruncate");
  }
  return fd;
}

absl::Status Seal(int fd, int extra, const char* name, uint64_t size_bytes) {
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | extra) != 0) {
    return Exhausted(name, size_bytes, "sealing");
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> CreateOffsets(std::span<const uint64_t> offsets) {
  constexpr const char* kName = "isthmus-offsets";
  const auto bytes = std::as_bytes(offsets);
  ISTHMUS_ASSIGN_OR_RETURN(UniqueFd fd, CreateMemfd(kName, bytes.size()));
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = ::pwrite(fd.get(), bytes.data() + written, bytes.size() - written,
                                   static_cast<off_t>(written));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Exhausted(kName, bytes.size(), "pwrite");
    written += static_cast<size_t>(count);
  }
  ISTHMUS_RETURN_IF_ERROR(Seal(fd.get(), F_SEAL_WRITE, kName, bytes.size()));
  return fd;
}

class JobSessionImpl : public JobSession {
 public:
  JobSessionImpl(uint64_t id, Layout layout, std::vector<RankBuffers> buffers,
                 std::shared_ptr<const SessionCourse> course)
      : id_(id),
        layout_(std::move(layout)),
        buffers_(std::move(buffers)),
        course_(std::move(course)) {}
  uint64_t id() const override { return id_; }
  const Layout& layout() const override { return layout_; }
  uint32_t ranks() const override { return static_cast<uint32_t>(buffers_.size()); }
  JobMemory memory() const override {
    return buffers_[0].on_device != nullptr ? JobMemory::kDevice : JobMemory::kHost;
  }
  bool gone() const override { return course_->gone; }
  uint32_t steps() const override { return course_->steps; }
  Elements parameters(uint32_t rank) override {
    RankBuffers& at = At(rank);
    return Flat(at.on_device != nullptr ? at.on_device->parameters.memory.data()
                                        : at.parameters.bytes().data());
  }
  bool own_optimizer() const override { return buffers_[0].own_optimizer; }
  Elements gradients(uint32_t rank) override {
    RankBuffers& at = At(rank);
    if (own_optimizer()) return {TypeOf(layout_), nullptr, 0};
    return Flat(at.on_device != nullptr ? at.on_device->gradients.memory.data()
                                        : at.gradients.bytes().data());
  }
  JobPace* pace(uint32_t rank) override { return At(rank).pace ? &*At(rank).pace : nullptr; }
  std::span<std::byte> constants(uint32_t rank) override { return At(rank).constants.bytes(); }
  SharedDeviceEvent& gradients_ready(uint32_t rank) override {
    return *OnDevice(rank).gradients_ready;
  }
  SharedDeviceEvent& parameters_ready(uint32_t rank) override {
    return *OnDevice(rank).parameters_ready;
  }
  const uint32_t* gradients_mark(uint32_t rank) override {
    return reinterpret_cast<const uint32_t*>(OnDevice(rank).gradients.memory.as<const std::byte>() +
                                             gradients(rank).size_bytes());
  }

 private:
  Elements Flat(void* data) const { return {TypeOf(layout_), data, layout_.length()}; }
  DeviceBuffers& OnDevice(uint32_t rank) {
    ISTHMUS_CHECK(At(rank).on_device != nullptr);
    return *At(rank).on_device;
  }
  RankBuffers& At(uint32_t rank) {
    ISTHMUS_CHECK(rank < buffers_.size());
    return buffers_[rank];
  }
  const uint64_t id_;
  const Layout layout_;
  std::vector<RankBuffers> buffers_;
  const std::shared_ptr<const SessionCourse> course_;
};

}  // namespace

absl::StatusOr<SharedBuffer> SharedBuffer::Create(const char* name, uint64_t size_bytes) {
  SharedBuffer buffer;
  ISTHMUS_ASSIGN_OR_RETURN(buffer.fd_, CreateMemfd(name, size_bytes));
  ISTHMUS_RETURN_IF_ERROR(Seal(buffer.fd_.get(), 0, name, size_bytes));
  if (size_bytes == 0) return buffer;
  void* address = size_bytes > std::numeric_limits<size_t>::max()
                      ? MAP_FAILED
                      : ::mmap(nullptr, static_cast<size_t>(size_bytes), PROT_READ | PROT_WRITE,
                               MAP_SHARED, buffer.fd_.get(), 0);
  if (address == MAP_FAILED) return Exhausted(name, size_bytes, "mmap");
  buffer.bytes_ = {static_cast<std::byte*>(address), static_cast<size_t>(size_bytes)};
  return buffer;
}

SharedBuffer::~SharedBuffer() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

absl::StatusOr<RankBuffers> RankBuffers::Create(const Layout& layout,
                                                std::span<const uint64_t> offsets,
                                                bool own_optimizer,
                                                std::shared_ptr<Device> device) {
  const uint64_t flat_bytes = layout.length() * SizeOf(TypeOf(layout));
  const uint64_t gradient_bytes = own_optimizer ? 0 : flat_bytes;
  RankBuffers made;
  made.own_optimizer = own_optimizer;
  if (device != nullptr) {
    made.on_device = std::make_shared<DeviceBuffers>();
    DeviceBuffers& there = *made.on_device;
    there.device = std::move(device);
    ISTHMUS_ASSIGN_OR_RETURN(there.parameters, there.device->AllocateShared(flat_bytes));
    ISTHMUS_ASSIGN_OR_RETURN(
        there.gradients, there.device->AllocateShared(gradient_bytes + ISTHMUS_WIRE_MARK_BYTES));
    ISTHMUS_ASSIGN_OR_RETURN(there.gradients_ready, there.device->MakeSharedEvent());
    ISTHMUS_ASSIGN_OR_RETURN(there.parameters_ready, there.device->MakeSharedEvent());
  } else {
    ISTHMUS_ASSIGN_OR_RETURN(made.parameters,
                             SharedBuffer::Create("isthmus-parameters", flat_bytes));
    if (!own_optimizer) {
      ISTHMUS_ASSIGN_OR_RETURN(made.gradients,
                               SharedBuffer::Create("isthmus-gradients", gradient_bytes));
    }
  }
  if (own_optimizer) {
    ISTHMUS_ASSIGN_OR_RETURN(made.pace_memory,
                             SharedBuffer::Create("isthmus-pace", sizeof(isthmus_wire_pace)));
    made.pace.emplace(reinterpret_cast<isthmus_wire_pace*>(made.pace_memory.bytes().data()));
    made.pace->SetExchangeAt(ISTHMUS_WIRE_NOT_NAMED);
  }
  ISTHMUS_ASSIGN_OR_RETURN(made.constants,
                           SharedBuffer::Create("isthmus-constants", layout.constants_bytes()));
  ISTHMUS_ASSIGN_OR_RETURN(made.offsets, CreateOffsets(offsets));
  return made;
}

std::vector<int> RankBuffers::fds() const {
  std::vector<int> fds;
  if (on_device == nullptr) fds.push_back(parameters.fd());
  if (own_optimizer) {
    fds.push_back(pace_memory.fd());
  } else if (on_device == nullptr) {
    fds.push_back(gradients.fd());
  }
  fds.insert(fds.end(), {constants.fd(), offsets.get()});
  return fds;
}

std::optional<JobDeviceHandles> RankBuffers::handles() const {
  if (on_device == nullptr) return std::nullopt;
  return JobDeviceHandles{.device = on_device->device->uuid(),
                          .parameters = on_device->parameters.handle,
                          .gradients = on_device->gradients.handle,
                          .gradients_ready = on_device->gradients_ready->handle(),
                          .parameters_ready = on_device->parameters_ready->handle()};
}

void RankBuffers::CloseFds() {
  parameters.CloseFd();
  gradients.CloseFd();
  pace_memory.CloseFd();
  constants.CloseFd();
  offsets = UniqueFd();
}

std::shared_ptr<JobSession> MakeJobSession(uint64_t id, Layout layout,
                                           std::vector<RankBuffers> buffers,
                                           std::shared_ptr<const SessionCourse> course) {
  return std::make_shared<JobSessionImpl>(id, std::move(layout), std::move(buffers),
                                          std::move(course));
}

}  // namespace isthmus
