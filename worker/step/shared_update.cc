#include "worker/step/shared_update.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <cstddef>
#include <span>
#include <utility>

namespace isthmus {

SharedUpdate::SharedUpdate(std::shared_ptr<const ReceivedUpdate> received)
    : received_(std::move(received)) {}

absl::StatusOr<const UpdateView*> SharedUpdate::Parsed(const RunSpec& run, const Layout& layout,
                                                       const Buckets& buckets) {
  MutexLock lock(&mu_);
  if (!view_.has_value()) view_ = Parse(run, layout, buckets);
  if (!view_->ok()) return view_->status();
  return &**view_;
}

absl::StatusOr<UpdateView> SharedUpdate::Parse(const RunSpec& run, const Layout& layout,
                                               const Buckets& buckets) const {
  if (header().scalars.size() != layout.parameter_groups()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "update ", header().sequence.value(), ": expected scalars of ", layout.parameter_groups(),
        " parameter groups, got ", header().scalars.size()));
  }
  const Extent extent = buckets.bucket(header().bucket);
  return UpdateView::Parse(std::as_bytes(std::span(received_->payload)), MergedFormat(run),
                           extent.begin / run.chunk_size, extent.size() / run.chunk_size);
}

}  // namespace isthmus
