#include "common/collectives/nccl_places.h"

#include <absl/strings/match.h>

#include <algorithm>
#include <system_error>

namespace isthmus {

namespace fs = std::filesystem;

std::vector<std::string> NcclPlaces(const fs::path& program) {
  std::vector<std::string> places = {"libnccl.so.2"};
  if (!program.has_parent_path()) return places;
  std::vector<std::string> found;
  std::error_code error;
  const fs::path lib = program.parent_path().parent_path() / "lib";
  for (auto entry = fs::directory_iterator(lib, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (!absl::StartsWith(entry->path().filename().string(), "python3")) continue;
    for (const char* packages : {"site-packages", "dist-packages"}) {  // Debian's name for them
      const fs::path nccl = entry->path() / packages / "nvidia/nccl/lib/libnccl.so.2";
      std::error_code ignored;
      if (fs::exists(nccl, ignored)) found.push_back(nccl.string());
    }
  }
  std::sort(found.begin(), found.end());
  places.insert(places.end(), found.begin(), found.end());
  return places;
}

}  // namespace isthmus
