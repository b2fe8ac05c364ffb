#include "tests/rivals/per_site.h"

namespace isthmus::rivals {

void AverageTensor(const PerSite& sites, size_t i, int64_t size) {
  const float scale = 1.0f / static_cast<float>(sites.size());
  for (int64_t j = 0; j < size; ++j) {
    float sum = 0;
    for (const std::vector<float*>& site : sites) sum += site[i][j];
    for (const std::vector<float*>& site : sites) site[i][j] = scale * sum;
  }
}

}  // namespace isthmus::rivals
