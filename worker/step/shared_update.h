// A received update, as the ranks share it.
#ifndef ISTHMUS_WORKER_STEP_SHARED_UPDATE_H_
#define ISTHMUS_WORKER_STEP_SHARED_UPDATE_H_

#include <absl/status/statusor.h>

#include <memory>
#include <optional>

#include "common/base/mutex.h"
#include "common/compression/update_payload.h"
#include "common/run/exchange_policy.h"
#include "common/run/round_format.h"
#include "common/run/update.h"
#include "common/tensor/buckets.h"
#include "common/tensor/layout.h"
#include "worker/step/pipeline.h"

namespace isthmus {

// Whose ranks read updates, and what they need to know of the run for that. A value.
struct UpdateReader {
  UpdateReader(const RunSpec& run, Member reader)
      : self(reader), formats(run), exchanges(PolicyOf(run).exchanges) {}

  Member self;  // the one contributor whose own contribution an update may leave out
  RoundFormats formats;
  bool exchanges;
};

// Parsed once, by whichever rank comes first. Thread-safe.
class SharedUpdate {
 public:
  SharedUpdate(std::shared_ptr<const ReceivedUpdate> received,
               std::shared_ptr<const UpdateReader> reader);

  const UpdateHeader& header() const { return received_->header; }

  // The direction of an update that has contributors; valid as long as this object.
  // `header().bucket` is one of `buckets`. Every rank gets the same answer. Errors:
  // INVALID_ARGUMENT for another number of parameter groups than the layout's, or contributions
  // that are not the contributors'; else those of UpdateView.
  absl::StatusOr<const UpdateView*> Parsed(const Layout& layout, const Buckets& buckets);

 private:
  absl::StatusOr<UpdateView> Parse(const Layout& layout, const Buckets& buckets) const;
  absl::StatusOr<UpdateView> FromContributions(const PayloadPlace& place) const;

  const std::shared_ptr<const ReceivedUpdate> received_;  // the engine may keep it too
  const std::shared_ptr<const UpdateReader> reader_;
  Mutex mu_;
  std::optional<absl::StatusOr<UpdateView>> view_ ABSL_GUARDED_BY(mu_);
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_SHARED_UPDATE_H_
