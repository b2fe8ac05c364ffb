#include "worker/step/gpu_ranks.h"

#include <absl/strings/str_cat.h>

#include <cstring>
#include <utility>

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collectives/local_communicator.h"
#include "worker/step/gpu_rank.h"

namespace isthmus {
namespace {

using Communicators = std::vector<std::unique_ptr<DeviceCommunicator>>;

class GpuRanks : public LocalRanks {
 public:
  GpuRanks(std::vector<GpuRankPlace> places, std::shared_ptr<const GpuConnector> connector)
      : places_(std::move(places)), connector_(std::move(connector)) {}

  uint32_t count() const override { return static_cast<uint32_t>(places_.size()); }

  absl::StatusOr<std::string> Invite() override { return connector_->Invite(); }

  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Ownership& ownership,
                                                               const GroupPlace& place) override {
    std::vector<Device*> devices;
    for (const GpuRankPlace& at : places_) devices.push_back(at.device.get());
    ISTHMUS_ASSIGN_OR_RETURN(Communicators communicators,
                             connector_->Connect(place, devices, aborted_));
    std::vector<std::unique_ptr<RankState>> ranks;
    for (uint32_t i = 0; i < count(); ++i) {
      ISTHMUS_ASSIGN_OR_RETURN(ranks.emplace_back(),
                               GpuRank::Create(run, layout, ownership, places_[i], place.group, i,
                                               communicators[i].get()));
    }
    MutexLock lock(&mu_);
    communicators_ = std::move(communicators);
    return ranks;
  }

  void Abort(const absl::Status& reason) override {
    *aborted_ = true;
    MutexLock lock(&mu_);
    for (const auto& communicator : communicators_) communicator->Abort(reason);
  }

 private:
  const std::vector<GpuRankPlace> places_;
  const std::shared_ptr<const GpuConnector> connector_;
  const std::shared_ptr<std::atomic<bool>> aborted_ = std::make_shared<std::atomic<bool>>(false);
  Mutex mu_;
  Communicators communicators_ ABSL_GUARDED_BY(mu_);
};

class HostConnector : public GpuConnector {
 public:
  absl::Status CheckSpans() const override {
    return absl::FailedPreconditionError(
        "ranks that meet through the host's memory cannot span machines: that takes NCCL, and a "
        "GPU for each rank");
  }
  absl::StatusOr<std::string> Invite() const override { return CheckSpans(); }
  absl::StatusOr<Communicators> Connect(
      const GroupPlace& place, std::span<Device* const> devices,
      std::shared_ptr<const std::atomic<bool>> /*cancelled*/) const override {
    if (place.ranks != devices.size()) return CheckSpans();
    Communicators communicators;
    for (auto& host : MakeLocalCommunicators(static_cast<uint32_t>(devices.size()))) {
      Device* const device = devices[host->rank()];
      communicators.push_back(MakeStagedCommunicator(std::move(host), device));
    }
    return communicators;
  }
};

class NcclConnector : public GpuConnector {
 public:
  NcclConnector(std::shared_ptr<Nccl> nccl, NcclOptions options)
      : nccl_(std::move(nccl)), options_(std::move(options)) {}

  absl::Status CheckSpans() const override { return absl::OkStatus(); }
  absl::StatusOr<std::string> Invite() const override {
    ISTHMUS_ASSIGN_OR_RETURN(const Nccl::Id id, nccl_->MakeId());
    return std::string(reinterpret_cast<const char*>(id.data()), id.size());
  }
  absl::StatusOr<Communicators> Connect(
      const GroupPlace& place, std::span<Device* const> devices,
      std::shared_ptr<const std::atomic<bool>> cancelled) const override {
    std::string invitation = place.invitation;
    if (invitation.empty()) {
      ISTHMUS_ASSIGN_OR_RETURN(invitation, Invite());
    }
    Nccl::Id id;
    if (invitation.size() != id.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("an NCCL id of ", invitation.size(), " bytes: expected ", id.size()));
    }
    std::memcpy(id.data(), invitation.data(), id.size());
    NcclOptions options = options_;
    options.cancelled = std::move(cancelled);
    return MakeNcclCommunicators(nccl_, id, place.ranks, place.first_rank, devices, options);
  }

 private:
  const std::shared_ptr<Nccl> nccl_;
  const NcclOptions options_;
};

}  // namespace

std::shared_ptr<const GpuConnector> ConnectThroughHost() {
  return std::make_shared<HostConnector>();
}

std::shared_ptr<const GpuConnector> ConnectByNccl(std::shared_ptr<Nccl> nccl, NcclOptions options) {
  return std::make_shared<NcclConnector>(std::move(nccl), std::move(options));
}

std::unique_ptr<LocalRanks> MakeGpuRanks(std::vector<GpuRankPlace> places,
                                         std::shared_ptr<const GpuConnector> connector) {
  return std::make_unique<GpuRanks>(std::move(places), std::move(connector));
}

}  // namespace isthmus
