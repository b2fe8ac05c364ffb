#include "tests/golden/golden_case.h"

#include <absl/strings/str_cat.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "common/base/status_macros.h"

namespace isthmus {
namespace {

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::InvalidArgumentError(absl::StrCat("cannot read ", path.string()));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

template <typename T>
std::vector<double> Convert(const char* bytes, size_t count, double scale) {
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    values[i] = static_cast<double>(value) * scale;
  }
  return values;
}

absl::StatusOr<std::vector<double>> ReadArray(const nlohmann::json& entry,
                                              const std::string& data) {
  const std::string name = entry.at("name");
  const std::string dtype = entry.at("dtype");
  const size_t size = dtype == "f64" ? 8 : dtype == "u8" ? 1 : dtype == "i16" ? 2 : 4;
  size_t count = 1;
  for (size_t extent : entry.at("shape")) count *= extent;
  const size_t offset = entry.at("offset");
  if (offset > data.size() || count * size > data.size() - offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("array ", name, " ends at byte ", offset + count * size, " of ", data.size()));
  }
  const char* bytes = data.data() + offset;
  if (dtype == "f32") return Convert<float>(bytes, count, 1.0);
  if (dtype == "f64") return Convert<double>(bytes, count, 1.0);
  if (dtype == "i32") return Convert<int32_t>(bytes, count, 1.0);
  if (dtype == "u8") return Convert<uint8_t>(bytes, count, 1.0);
  if (dtype == "i16") return Convert<int16_t>(bytes, count, entry.at("scale").get<double>());
  return absl::InvalidArgumentError(absl::StrCat("array ", name, ": dtype ", dtype));
}

}  // namespace

absl::StatusOr<GoldenCase> GoldenCase::Load(const std::filesystem::path& manifest_path) {
  ISTHMUS_ASSIGN_OR_RETURN(const std::string text, ReadFile(manifest_path));
  std::filesystem::path data_path = manifest_path;
  ISTHMUS_ASSIGN_OR_RETURN(const std::string data, ReadFile(data_path.replace_extension("bin")));
  GoldenCase golden;
  try {
    golden.manifest_ = nlohmann::json::parse(text);
    for (const nlohmann::json& entry : golden.manifest_.at("arrays")) {
      ISTHMUS_ASSIGN_OR_RETURN(golden.arrays_[entry.at("name")], ReadArray(entry, data));
    }
  } catch (const nlohmann::json::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(manifest_path.string(), ": ", e.what()));
  }
  return golden;
}

std::vector<float> GoldenCase::Floats(const std::string& array, size_t begin, size_t count) const {
  const std::vector<double>& values = arrays_.at(array);
  std::vector<float> floats;
  floats.reserve(count);
  for (size_t i = begin; i < begin + count; ++i) floats.push_back(static_cast<float>(values.at(i)));
  return floats;
}

}  // namespace isthmus
