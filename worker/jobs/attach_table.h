// The list of tensors and constants that one rank declares, entry by entry.
#ifndef ISTHMUS_WORKER_JOBS_ATTACH_TABLE_H_
#define ISTHMUS_WORKER_JOBS_ATTACH_TABLE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <vector>

#include "common/tensor/layout.h"
#include "worker/jobs/job_messages.h"

namespace isthmus {

// Of the parameters and gradients of a job with this layout.
DType TypeOf(const Layout& layout);

// Thread-compatible. Memory grows only with entries that have arrived.
class AttachTable {
 public:
  AttachTable() = default;
  // Errors: INVALID_ARGUMENT for no entries; RESOURCE_EXHAUSTED for more than the protocol allows.
  static absl::StatusOr<AttachTable> Create(uint32_t entry_count);

  // Errors: INVALID_ARGUMENT unless entries come in order and no more than announced.
  absl::Status Add(JobEntry entry);
  bool complete() const { return is_constant_.size() == entry_count_; }

  // Of a complete table, once. Errors: those of Layout::Create; INVALID_ARGUMENT for tensors of
  // different types, since they share one flat buffer.
  absl::StatusOr<Layout> TakeLayout();
  // Where each entry starts in `layout`, which TakeLayout() gave: elements, or bytes of constants.
  std::vector<uint64_t> Offsets(const Layout& layout) const;

 private:
  uint32_t entry_count_ = 0;
  std::vector<bool> is_constant_;  // by entry
  std::vector<TensorSpec> tensors_;
  std::vector<ConstantSpec> constants_;
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_ATTACH_TABLE_H_
