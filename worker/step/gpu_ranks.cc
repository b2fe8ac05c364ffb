#include "worker/step/gpu_ranks.h"

#include <utility>

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collectives/local_communicator.h"
#include "worker/step/gpu_rank.h"

namespace isthmus {
namespace {

class GpuRanks : public LocalRanks {
 public:
  GpuRanks(std::vector<GpuRankPlace> places, ConnectGpus connect)
      : places_(std::move(places)), connect_(std::move(connect)) {}

  uint32_t count() const override { return static_cast<uint32_t>(places_.size()); }

  absl::StatusOr<std::vector<std::unique_ptr<RankState>>> Make(const RunSpec& run,
                                                               const Layout& layout,
                                                               const Buckets& buckets) override {
    std::vector<Device*> devices;
    for (const GpuRankPlace& place : places_) devices.push_back(place.device.get());
    ISTHMUS_ASSIGN_OR_RETURN(auto communicators, connect_(devices));
    std::vector<std::unique_ptr<RankState>> ranks;
    for (uint32_t rank = 0; rank < count(); ++rank) {
      ISTHMUS_ASSIGN_OR_RETURN(
          ranks.emplace_back(),
          GpuRank::Create(run, layout, buckets, places_[rank], communicators[rank].get()));
    }
    MutexLock lock(&mu_);
    communicators_ = std::move(communicators);
    return ranks;
  }

  void Abort(const absl::Status& reason) override {
    MutexLock lock(&mu_);
    for (const auto& communicator : communicators_) communicator->Abort(reason);
  }

 private:
  const std::vector<GpuRankPlace> places_;
  const ConnectGpus connect_;
  Mutex mu_;
  std::vector<std::unique_ptr<DeviceCommunicator>> communicators_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<DeviceCommunicator>>> ConnectThroughHost(
    std::span<Device* const> devices) {
  std::vector<std::unique_ptr<DeviceCommunicator>> communicators;
  for (auto& host : MakeLocalCommunicators(static_cast<uint32_t>(devices.size()))) {
    Device* const device = devices[host->rank()];
    communicators.push_back(MakeStagedCommunicator(std::move(host), device));
  }
  return communicators;
}

std::unique_ptr<LocalRanks> MakeGpuRanks(std::vector<GpuRankPlace> places, ConnectGpus connect) {
  return std::make_unique<GpuRanks>(std::move(places), std::move(connect));
}

}  // namespace isthmus
