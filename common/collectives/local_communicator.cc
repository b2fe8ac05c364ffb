#include "common/collectives/local_communicator.h"

#include <absl/status/status.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collectives/element_copies.h"

namespace isthmus {
namespace {

// What a rank shows the others while a collective is under way.
struct Shown {
  Elements whole;                // to be reduced
  std::span<const float> input;  // to be gathered
  bool value = false;
};

// Where ranks meet. Thread-safe.
class Meeting {
 public:
  explicit Meeting(uint32_t size) : size_(size), shown_(size) {}

  uint32_t size() const { return size_; }

  // Shows `mine` and waits for the others; `all` receives what each showed. After an OK every rank
  // gets OK, and must Leave(). An abort is noticed here only, so a collective happens at every rank
  // or at none.
  absl::Status Enter(uint32_t rank, const Shown& mine, std::vector<Shown>& all) {
    MutexLock lock(&mu_);
    if (!aborted_.ok()) return aborted_;
    shown_[rank] = mine;
    const uint64_t meeting = Arrive();
    while (meetings_ == meeting) {
      if (!aborted_.ok()) return aborted_;
      met_.Wait(&mu_);
    }
    all = shown_;
    return absl::OkStatus();
  }

  // Waits until nobody reads this rank's memory any more. Soon: others only compute by now.
  void Leave() {
    MutexLock lock(&mu_);
    const uint64_t meeting = Arrive();
    while (meetings_ == meeting) met_.Wait(&mu_);
  }

  void Abort(const absl::Status& reason) {
    MutexLock lock(&mu_);
    if (!aborted_.ok()) return;
    aborted_ = absl::AbortedError(reason.message());
    met_.NotifyAll();
  }

 private:
  // Returns the number of meetings that were over before this one.
  uint64_t Arrive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const uint64_t meeting = meetings_;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++meetings_;
      met_.NotifyAll();
    }
    return meeting;
  }

  const uint32_t size_;
  Mutex mu_;
  CondVar met_;
  std::vector<Shown> shown_ ABSL_GUARDED_BY(mu_);
  uint32_t arrived_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t meetings_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status aborted_ ABSL_GUARDED_BY(mu_);
};

// Sums stay in the first-level cache while the ranks' inputs pass by.
constexpr size_t kBlockLength = 4096;

void MeanOf(const std::vector<Shown>& all, uint64_t offset, std::span<float> output) {
  const float size = static_cast<float>(all.size());
  for (size_t begin = 0; begin < output.size(); begin += kBlockLength) {
    const size_t length = std::min(kBlockLength, output.size() - begin);
    const std::span<float> sum = output.subspan(begin, length);
    CopyToFloats(all[0].whole.subspan(offset + begin, length), sum);
    for (size_t rank = 1; rank < all.size(); ++rank) {
      AddToFloats(all[rank].whole.subspan(offset + begin, length), sum);
    }
    for (size_t i = 0; i < length; ++i) sum[i] /= size;
  }
}

class LocalCommunicator : public Communicator {
 public:
  // Shared: the last rank to go takes the meeting with it.
  LocalCommunicator(std::shared_ptr<Meeting> meeting, uint32_t rank)
      : meeting_(std::move(meeting)), rank_(rank), all_(meeting_->size()) {}

  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return meeting_->size(); }

  absl::Status ReduceScatterMean(const Elements& input, const Partition& whole,
                                 std::span<float> output) override {
    ISTHMUS_CHECK(whole.ranks() == size() && output.size() == whole.size(rank_));
    ISTHMUS_RETURN_IF_ERROR(meeting_->Enter(rank_, {.whole = input}, all_));
    for (const Shown& shown : all_) ISTHMUS_CHECK(shown.whole.size() == whole.length());
    for (const Extent& extent : whole.extents(rank_)) {
      MeanOf(all_, extent.begin, output.first(extent.size()));
      output = output.subspan(extent.size());
    }
    meeting_->Leave();
    return absl::OkStatus();
  }

  absl::Status AllGather(std::span<const float> input, const Partition& whole,
                         const Elements& output) override {
    ISTHMUS_CHECK(whole.ranks() == size() && output.size() == whole.length());
    ISTHMUS_RETURN_IF_ERROR(meeting_->Enter(rank_, {.input = input}, all_));
    for (uint32_t rank = 0; rank < size(); ++rank) {
      std::span<const float> from = all_[rank].input;
      ISTHMUS_CHECK(from.size() == whole.size(rank));
      for (const Extent& extent : whole.extents(rank)) {
        CopyFromFloats(from.first(extent.size()), output.subspan(extent.begin, extent.size()));
        from = from.subspan(extent.size());
      }
    }
    meeting_->Leave();
    return absl::OkStatus();
  }

  absl::StatusOr<bool> AllTrue(bool value) override {
    ISTHMUS_RETURN_IF_ERROR(meeting_->Enter(rank_, {.value = value}, all_));
    const bool all_true =
        std::all_of(all_.begin(), all_.end(), [](const Shown& shown) { return shown.value; });
    meeting_->Leave();
    return all_true;
  }

  absl::Status Barrier() override {
    ISTHMUS_RETURN_IF_ERROR(meeting_->Enter(rank_, {}, all_));
    meeting_->Leave();
    return absl::OkStatus();
  }

  void Abort(const absl::Status& reason) override { meeting_->Abort(reason); }

 private:
  const std::shared_ptr<Meeting> meeting_;
  const uint32_t rank_;
  std::vector<Shown> all_;  // kept to allocate once
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeLocalCommunicators(uint32_t size) {
  ISTHMUS_CHECK(size > 0);
  const auto meeting = std::make_shared<Meeting>(size);
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (uint32_t rank = 0; rank < size; ++rank) {
    communicators.push_back(std::make_unique<LocalCommunicator>(meeting, rank));
  }
  return communicators;
}

}  // namespace isthmus
