#include "worker/jobs/attach_table.h"

#include <absl/strings/str_cat.h>

#include <utility>
#include <variant>

#include "common/base/check.h"

namespace isthmus {

DType TypeOf(const Layout& layout) { return layout.tensors()[0].dtype; }

absl::StatusOr<AttachTable> AttachTable::Create(uint32_t entry_count) {
  if (entry_count == 0) return absl::InvalidArgumentError("expected tensors, got none");
  if (entry_count > ISTHMUS_WIRE_MAX_ENTRIES) {
    return absl::ResourceExhaustedError(absl::StrCat("expected at most ", ISTHMUS_WIRE_MAX_ENTRIES,
                                                     " tensors and constants, got ", entry_count));
  }
  AttachTable table;
  table.entry_count_ = entry_count;
  return table;
}

absl::Status AttachTable::Add(JobEntry entry) {
  if (complete() || entry.index != is_constant_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected entry ", is_constant_.size(), " of ",
                                                   entry_count_, ", got entry ", entry.index));
  }
  if (auto* constant = std::get_if<ConstantSpec>(&entry.spec)) {
    constants_.push_back(std::move(*constant));
    is_constant_.push_back(true);
  } else {
    tensors_.push_back(std::move(std::get<TensorSpec>(entry.spec)));
    is_constant_.push_back(false);
  }
  return absl::OkStatus();
}

absl::StatusOr<Layout> AttachTable::TakeLayout() {
  ISTHMUS_CHECK(complete());
  for (const TensorSpec& tensor : tensors_) {
    if (tensor.dtype == tensors_[0].dtype) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tensor '", tensor.name, "': expected ", DTypeName(tensors_[0].dtype),
                     " as all tensors of a job, got ", DTypeName(tensor.dtype)));
  }
  return Layout::Create(std::exchange(tensors_, {}), std::exchange(constants_, {}));
}

std::vector<uint64_t> AttachTable::Offsets(const Layout& layout) const {
  std::vector<uint64_t> offsets;
  offsets.reserve(is_constant_.size());
  size_t tensor = 0;
  size_t constant = 0;
  for (const bool is_constant : is_constant_) {
    offsets.push_back(is_constant ? layout.constant_offsets()[constant++]
                                  : layout.offsets()[tensor++]);
  }
  return offsets;
}

}  // namespace isthmus
