// One recorded case: its manifest and its arrays (README.md, "Files").
#ifndef ISTHMUS_TESTS_GOLDEN_GOLDEN_CASE_H_
#define ISTHMUS_TESTS_GOLDEN_GOLDEN_CASE_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace isthmus {

// Immutable. Accessors of the manifest throw nlohmann's exceptions on a manifest that lacks what a
// case of its kind must have; CheckGoldenCase() catches them.
class GoldenCase {
 public:
  // Reads NAME.json and the NAME.bin beside it. Errors: INVALID_ARGUMENT naming file and array.
  static absl::StatusOr<GoldenCase> Load(const std::filesystem::path& manifest_path);

  const nlohmann::json& manifest() const { return manifest_; }
  std::string name() const { return manifest_.at("name"); }
  std::string kind() const { return manifest_.at("kind"); }
  bool has(const std::string& array) const { return arrays_.count(array) != 0; }
  // An array's values; doubles hold all the dtypes exactly.
  const std::vector<double>& array(const std::string& array) const { return arrays_.at(array); }
  // `count` of them from `begin`, as the float32 that they are.
  std::vector<float> Floats(const std::string& array, size_t begin, size_t count) const;

 private:
  nlohmann::json manifest_;
  std::map<std::string, std::vector<double>> arrays_;
};

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GOLDEN_GOLDEN_CASE_H_
