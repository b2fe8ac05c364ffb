#include "worker/step/rank_choice.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <stdlib.h>

#include <map>
#include <memory>
#include <set>
#include <utility>

#include "common/base/status_macros.h"
#include "common/collectives/nccl.h"
#include "common/device/cuda_device.h"
#include "common/device/host_device.h"
#include "common/gpu/cuda_gpu_kernels.h"

namespace isthmus {
namespace {

absl::StatusOr<std::vector<GpuRankPlace>> OpenGpus(std::vector<int> devices) {
  // Kernels are loaded now: loading one later may wait for every device's work, a collective's too.
  ::setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  ISTHMUS_ASSIGN_OR_RETURN(const int count, CountCudaDevices());
  for (int i = 0; devices.empty() && i < count; ++i) devices.push_back(i);
  const std::shared_ptr<const GpuKernels> kernels = MakeCudaGpuKernels();
  std::map<int, std::shared_ptr<Device>> open;
  std::vector<GpuRankPlace> places;
  for (const int index : devices) {
    std::shared_ptr<Device>& device = open[index];
    if (device == nullptr) {
      ISTHMUS_ASSIGN_OR_RETURN(device, OpenCudaDevice(index));
    }
    places.push_back({device, kernels});
  }
  return places;
}

}  // namespace

absl::StatusOr<RankChoice> ParseRankChoice(const std::string& text) {
  const std::pair<std::string, std::string> halves = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const auto& [kind, rest] = halves;
  RankChoice choice;
  bool right = true;
  if (kind == "cpu" || kind == "host-gpu") {
    choice.kind = kind == "cpu" ? RankChoice::Kind::kCpu : RankChoice::Kind::kHostGpu;
    right = absl::SimpleAtoi(rest, &choice.count) && choice.count >= 1 &&
            choice.count <= kMaxLocalRanks;
  } else if (kind == "cuda") {
    choice.kind = RankChoice::Kind::kCuda;
    if (rest != "all") {
      for (const auto& index : absl::StrSplit(rest, ',')) {
        right = right && absl::SimpleAtoi(index, &choice.devices.emplace_back()) &&
                choice.devices.back() >= 0;
      }
      right = right && choice.devices.size() <= kMaxLocalRanks;
    }
  } else {
    right = false;
  }
  if (right) return choice;
  return absl::InvalidArgumentError(
      absl::StrCat("--ranks: expected cpu:N with N from 1 to ", kMaxLocalRanks,
                   ", cuda:all, or GPUs by index as in cuda:0,1; got '", text, "'"));
}

std::shared_ptr<const GpuConnector> ChooseConnection(const RankChoice& choice, size_t ranks,
                                                     bool spanning, std::string* how) {
  const std::set<int> distinct(choice.devices.begin(), choice.devices.end());
  if (ranks < 2 && !spanning) {
    *how = "one rank";
  } else if (choice.kind != RankChoice::Kind::kCuda) {
    *how = "ranks meet through the host's memory";
  } else if (distinct.size() != choice.devices.size()) {
    *how = "ranks meet through the host's memory: some share a GPU";
  } else if (const auto nccl = OpenNccl(); nccl.ok()) {
    *how = absl::StrCat("ranks meet by NCCL ", (*nccl)->version());
    return ConnectByNccl(*nccl);
  } else {
    *how = absl::StrCat("ranks meet through the host's memory: ",
                        std::string(nccl.status().message()));
  }
  return ConnectThroughHost();
}

absl::StatusOr<std::vector<GpuRankPlace>> OpenGpuPlaces(const RankChoice& choice) {
  std::vector<GpuRankPlace> places;
  if (choice.kind == RankChoice::Kind::kCuda) return OpenGpus(choice.devices);
  if (choice.kind == RankChoice::Kind::kHostGpu) {
    for (uint32_t rank = 0; rank < choice.count; ++rank) {
      // By threads: jobs in other processes wait for them.
      places.push_back({std::make_shared<HostDevice>(size_t{1} << 30, HostWork::kByThread),
                        MakeHostGpuKernels(rank)});
    }
  }
  return places;
}

}  // namespace isthmus
