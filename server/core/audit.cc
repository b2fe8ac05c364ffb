#include "server/core/audit.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>

namespace isthmus {
namespace {

constexpr size_t kMostNamed = 4;  // buckets in one line

// Groups ascend, so the first of those with as many votes is the one of the lowest id.
uint64_t Majority(const std::map<GroupId, BucketHashes>& reports, size_t bucket) {
  std::map<uint64_t, size_t> votes;
  for (const auto& [group, hashes] : reports) ++votes[hashes[bucket]];
  uint64_t best = 0;
  size_t most = 0;
  for (const auto& [group, hashes] : reports) {
    const size_t count = votes[hashes[bucket]];
    if (count <= most) continue;
    most = count;
    best = hashes[bucket];
  }
  return best;
}

size_t CountDifferences(const BucketHashes& a, const BucketHashes& b) {
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

}  // namespace

BucketHashes RightHashes(const std::map<GroupId, BucketHashes>& reports,
                         const std::set<GroupId>& donors) {
  if (reports.empty()) return {};
  BucketHashes right;
  for (size_t b = 0; b < reports.begin()->second.size(); ++b) {
    right.push_back(Majority(reports, b));
  }
  const auto closest = std::min_element(donors.begin(), donors.end(), [&](GroupId a, GroupId b) {
    return CountDifferences(right, reports.at(a)) < CountDifferences(right, reports.at(b));
  });
  return closest == donors.end() ? right : reports.at(*closest);
}

std::string DifferenceText(const BucketHashes& right, const BucketHashes& actual) {
  std::vector<std::string> named;
  for (size_t b = 0; b < right.size() && named.size() < kMostNamed; ++b) {
    if (right[b] == actual[b]) continue;
    named.push_back(absl::StrCat("bucket ", b, " expected ", absl::Hex(right[b], absl::kZeroPad16),
                                 ", got ", absl::Hex(actual[b], absl::kZeroPad16)));
  }
  const size_t count = CountDifferences(right, actual);
  return absl::StrCat(count, " of ", right.size(), " buckets: ", absl::StrJoin(named, "; "),
                      count > named.size() ? "; ..." : "");
}

std::map<GroupId, BucketHashes> Audit::hashes() const {
  std::map<GroupId, BucketHashes> result;
  for (const auto& [group, report] : reports_) result[group] = report.hashes;
  return result;
}

}  // namespace isthmus
