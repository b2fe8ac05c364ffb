#include "common/tensor/layout.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <unordered_set>

#include "common/base/status_macros.h"

namespace isthmus {
namespace {

uint64_t RoundUp(uint64_t n, uint64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// Well-formed, as RFC 3629 has it: nothing overlong, no surrogates. Protobuf parses no other text.
bool IsUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    if (lead < 0xc2 || lead > 0xf4) return false;
    // What the byte after these leads may be is narrower than what follows any other.
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (int left = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3; left > 0; --left, ++i) {
      if (i == text.size()) return false;
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte < low || byte > high) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

absl::Status CheckName(const std::string& kind, size_t index, const std::string& name,
                       std::unordered_set<std::string>& seen) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat(kind, " ", index, ": a name has 1 to ",
                                                   kMaxNameBytes, " bytes, got ", name.size()));
  }
  if (!IsUtf8(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(kind, " ", index, ": the name '", absl::CHexEscape(name), "' is not UTF-8"));
  }
  if (!seen.insert(name).second) {
    return absl::InvalidArgumentError(
        absl::StrCat(kind, " ", index, ": the name '", name, "' is taken already"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ElementCount(const TensorSpec& tensor) {
  if (tensor.shape.size() > kMaxDimensions) {
    return absl::InvalidArgumentError(absl::StrCat("tensor '", tensor.name, "': at most ",
                                                   kMaxDimensions, " dimensions, got ",
                                                   tensor.shape.size()));
  }
  uint64_t count = 1;
  for (int64_t extent : tensor.shape) {
    if (extent <= 0 || static_cast<uint64_t>(extent) > kMaxFlatLength / count) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", tensor.name, "': shape ", ShapeText(tensor.shape),
                       " is empty, negative or beyond ", kMaxFlatLength, " elements"));
    }
    count *= static_cast<uint64_t>(extent);
  }
  return count;
}

std::string Describe(const TensorSpec& t) {
  return absl::StrCat("'", t.name, "' ", ShapeText(t.shape), " in parameter group ",
                      t.parameter_group);
}

bool SameInTheFlatVector(const TensorSpec& a, const TensorSpec& b) {
  return a.name == b.name && a.shape == b.shape && a.parameter_group == b.parameter_group;
}

}  // namespace

absl::StatusOr<Layout> Layout::Create(std::vector<TensorSpec> tensors,
                                      std::vector<ConstantSpec> constants) {
  if (tensors.empty()) return absl::InvalidArgumentError("a layout needs at least one tensor");
  if (tensors.size() > kMaxTensors || constants.size() > kMaxTensors) {
    return absl::InvalidArgumentError(absl::StrCat("at most ", kMaxTensors, " tensors and ",
                                                   kMaxTensors, " constants, got ", tensors.size(),
                                                   " and ", constants.size()));
  }
  uint64_t names_bytes = 0;
  for (const TensorSpec& tensor : tensors) names_bytes += tensor.name.size();
  for (const ConstantSpec& constant : constants) names_bytes += constant.name.size();
  if (names_bytes > kMaxNamesBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "names of ", tensors.size(), " tensors and ", constants.size(),
        " constants: expected at most ", kMaxNamesBytes, " bytes in all, got ", names_bytes));
  }
  Layout layout;
  std::unordered_set<std::string> names;
  uint64_t end = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorSpec& tensor = tensors[i];
    ISTHMUS_RETURN_IF_ERROR(CheckName("tensor", i, tensor.name, names));
    if (tensor.parameter_group >= kMaxParameterGroups) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", tensor.name, "': parameter group ",
                                                     tensor.parameter_group, ", expected below ",
                                                     kMaxParameterGroups));
    }
    ISTHMUS_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(tensor));
    const uint64_t begin = RoundUp(end, kTensorAlignment);
    end = begin + count;
    if (end > kMaxFlatLength) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", tensor.name,
                                                     "': the flat vector grows beyond ",
                                                     kMaxFlatLength, " elements"));
    }
    layout.offsets_.push_back(begin);
    layout.counts_.push_back(count);
    layout.logical_length_ += count;
    layout.parameter_groups_ = std::max(layout.parameter_groups_, tensor.parameter_group + 1);
    if (layout.segments_.empty() ||
        layout.segments_.back().parameter_group != tensor.parameter_group) {
      if (!layout.segments_.empty()) layout.segments_.back().end = begin;
      layout.segments_.push_back({begin, 0, tensor.parameter_group});
    }
  }
  layout.length_ = RoundUp(end, kUnitLength);
  layout.segments_.back().end = layout.length_;
  for (size_t i = 0; i < constants.size(); ++i) {
    ISTHMUS_RETURN_IF_ERROR(CheckName("constant", i, constants[i].name, names));
    if (constants[i].size_bytes > kMaxConstantBytes - layout.constants_bytes_ - 64) {
      return absl::InvalidArgumentError(absl::StrCat("constant '", constants[i].name,
                                                     "': constants grow beyond ", kMaxConstantBytes,
                                                     " bytes"));
    }
    layout.constant_offsets_.push_back(layout.constants_bytes_);
    layout.constants_bytes_ += RoundUp(constants[i].size_bytes, 64);
  }
  layout.tensors_ = std::move(tensors);
  layout.constants_ = std::move(constants);
  return layout;
}

std::string Layout::DifferenceFrom(const Layout& other) const {
  for (size_t i = 0; i < std::min(tensors_.size(), other.tensors_.size()); ++i) {
    if (!SameInTheFlatVector(tensors_[i], other.tensors_[i])) {
      return absl::StrCat("tensor ", i, ": expected ", Describe(tensors_[i]), ", got ",
                          Describe(other.tensors_[i]));
    }
  }
  if (tensors_.size() != other.tensors_.size()) {
    return absl::StrCat("expected ", tensors_.size(), " tensors, got ", other.tensors_.size());
  }
  for (size_t i = 0; i < std::min(constants_.size(), other.constants_.size()); ++i) {
    if (constants_[i] != other.constants_[i]) {
      return absl::StrCat("constant ", i, ": expected '", constants_[i].name, "' of ",
                          constants_[i].size_bytes, " bytes, got '", other.constants_[i].name,
                          "' of ", other.constants_[i].size_bytes);
    }
  }
  if (constants_.size() != other.constants_.size()) {
    return absl::StrCat("expected ", constants_.size(), " constants, got ",
                        other.constants_.size());
  }
  return "";
}

}  // namespace isthmus
