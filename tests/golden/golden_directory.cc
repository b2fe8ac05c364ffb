#include "tests/golden/golden_directory.h"

#include <algorithm>
#include <exception>
#include <ostream>
#include <string>
#include <vector>

#include "tests/golden/replay.h"

namespace isthmus {
namespace {

// What was found of one case. An empty difference is a pass.
struct Outcome {
  std::string difference;
  std::string skipped_kind;
};

Outcome CheckGoldenCase(const GoldenCase& golden) {
  Comparison comparison(golden);
  try {
    const std::string kind = golden.kind();
    if (kind == "dct") {
      ReplayDct(golden, comparison);
    } else if (kind == "demo") {
      ReplayDemo(golden, comparison);
    } else if (kind == "full") {
      ReplayFull(golden, comparison);
    } else if (kind == "random" || kind == "striding" || kind == "slicing") {
      ReplayRows(golden, comparison);
    } else {
      return {"", kind};
    }
  } catch (const std::exception& e) {  // the manifest lacks something, or an array is short
    comparison.Fail(e.what());
  }
  return {comparison.difference(), ""};
}

}  // namespace

GoldenCounts CheckGoldenDirectory(const std::filesystem::path& directory, std::ostream& out) {
  std::vector<std::filesystem::path> manifests;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".json") manifests.push_back(entry.path());
  }
  std::sort(manifests.begin(), manifests.end());
  GoldenCounts counts;
  for (const std::filesystem::path& manifest : manifests) {
    const std::string name = manifest.stem().string();
    const absl::StatusOr<GoldenCase> golden = GoldenCase::Load(manifest);
    const Outcome outcome =
        golden.ok() ? CheckGoldenCase(*golden) : Outcome{golden.status().ToString(), ""};
    if (!outcome.difference.empty()) {
      ++counts.failed;
      out << "FAILED " << name << ": " << outcome.difference << "\n";
    } else if (!outcome.skipped_kind.empty()) {
      ++counts.skipped;
      out << "skipped " << name << ": kind " << outcome.skipped_kind << "\n";
    } else {
      ++counts.passed;
    }
  }
  return counts;
}

}  // namespace isthmus
