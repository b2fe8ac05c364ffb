#include "examples/lm/model_file.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "examples/lm/file.h"

namespace isthmus::lm {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is the memory's own");

constexpr size_t kMaxFileBytes = size_t{1} << 32;

struct Header {
  char magic[8];
  uint32_t width, layers, heads, context;
  uint64_t count;
};
static_assert(sizeof(Header) == 32, "no padding: the struct is the format");

constexpr char kMagic[] = "ISTHLM01";

}  // namespace

absl::Status SaveModel(const std::string& path, const ModelConfig& config,
                       const ParameterSet<float>& parameters) {
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(header.magic));
  header.width = config.width;
  header.layers = config.layers;
  header.heads = config.heads;
  header.context = config.context;
  header.count = parameters.flat().size();
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(reinterpret_cast<const char*>(parameters.flat().data()),
               parameters.flat().size() * sizeof(float));
  return WriteFile(path, bytes);
}

absl::StatusOr<SavedModel> LoadModel(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path, kMaxFileBytes);
  if (!bytes.ok()) return bytes.status();
  Header header;
  if (bytes->size() < sizeof(header) ||
      std::memcmp(bytes->data(), kMagic, sizeof(header.magic)) != 0) {
    return absl::DataLossError(
        absl::StrCat(path, " is no model file: it does not start with ", kMagic, " and a config"));
  }
  std::memcpy(&header, bytes->data(), sizeof(header));
  const ModelConfig config = {static_cast<int>(header.width), static_cast<int>(header.layers),
                              static_cast<int>(header.heads), static_cast<int>(header.context)};
  absl::Status valid = Validate(config);
  if (!valid.ok()) return absl::DataLossError(absl::StrCat(path, ": ", valid.message()));

  // The file's own length bounds what a corrupt config could make us allocate.
  const std::vector<TensorSpec> tensors = ModelTensors(config);
  const uint64_t expected = TotalSize(tensors);
  const uint64_t actual = (bytes->size() - sizeof(header)) / sizeof(float);
  if (header.count != expected || actual != expected ||
      bytes->size() != sizeof(header) + expected * sizeof(float)) {
    return absl::DataLossError(absl::StrCat(path, " announces ", header.count,
                                            " values and has room for ", actual, ", expected ",
                                            expected));
  }
  ParameterSet<float> parameters(tensors);
  std::memcpy(parameters.flat().data(), bytes->data() + sizeof(header), expected * sizeof(float));
  return SavedModel{config, std::move(parameters)};
}

}  // namespace isthmus::lm
