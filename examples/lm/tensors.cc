#include "examples/lm/tensors.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace isthmus::lm {
namespace {

absl::Status ValidateExtent(const char* name, int value, int limit) {
  if (value >= 1 && value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model ", name, " is ", value, ", expected 1 to ", limit));
}

void AppendNorm(const std::string& prefix, int64_t width, std::vector<TensorSpec>* tensors) {
  tensors->push_back({prefix + ".gain", {width}, kUndecayedGroup, Initialisation::kOne});
  tensors->push_back({prefix + ".bias", {width}, kUndecayedGroup, Initialisation::kZero});
}

void AppendLinear(const std::string& prefix, int64_t out, int64_t in, Initialisation weight,
                  std::vector<TensorSpec>* tensors) {
  tensors->push_back({prefix + ".weight", {out, in}, kDecayedGroup, weight});
  tensors->push_back({prefix + ".bias", {out}, kUndecayedGroup, Initialisation::kZero});
}

}  // namespace

absl::Status Validate(const ModelConfig& config) {
  const std::pair<const char*, std::pair<int, int>> extents[] = {
      {"width", {config.width, kMaxWidth}},
      {"layers", {config.layers, kMaxLayers}},
      {"heads", {config.heads, kMaxHeads}},
      {"context", {config.context, kMaxContext}},
  };
  for (const auto& [name, extent] : extents) {
    absl::Status status = ValidateExtent(name, extent.first, extent.second);
    if (!status.ok()) return status;
  }
  if (config.width % config.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model width is ", config.width, ", expected a multiple of its ", config.heads, " heads"));
  }
  return absl::OkStatus();
}

int64_t TensorSpec::size() const {
  int64_t size = 1;
  for (int64_t extent : shape) size *= extent;
  return size;
}

std::vector<TensorSpec> ModelTensors(const ModelConfig& config) {
  const int64_t width = config.width;
  std::vector<TensorSpec> tensors;
  tensors.push_back(
      {"token_embedding", {kSymbols, width}, kUndecayedGroup, Initialisation::kNormal});
  tensors.push_back(
      {"position_embedding", {config.context, width}, kUndecayedGroup, Initialisation::kPosition});
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string block = absl::StrCat("block.", layer);
    AppendNorm(block + ".norm1", width, &tensors);
    AppendLinear(block + ".qkv", 3 * width, width, Initialisation::kNormal, &tensors);
    AppendLinear(block + ".mix", width, width, Initialisation::kProjection, &tensors);
    AppendNorm(block + ".norm2", width, &tensors);
    AppendLinear(block + ".up", 4 * width, width, Initialisation::kNormal, &tensors);
    AppendLinear(block + ".down", width, 4 * width, Initialisation::kProjection, &tensors);
  }
  AppendNorm("norm", width, &tensors);
  return tensors;
}

int64_t TotalSize(const std::vector<TensorSpec>& tensors) {
  int64_t size = 0;
  for (const TensorSpec& tensor : tensors) size += tensor.size();
  return size;
}

}  // namespace isthmus::lm
