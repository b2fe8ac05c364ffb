// The encoded, validated parts of contributions to the open round, until their bucket is merged.
#ifndef ISTHMUS_SERVER_MERGE_CONTRIBUTION_STORE_H_
#define ISTHMUS_SERVER_MERGE_CONTRIBUTION_STORE_H_

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/payload.h"

namespace isthmus {

struct StoredPart {
  PayloadPlace place;
  std::string payload;  // common/compression/payload.h, valid
};

// Bounded by what the core accepts: each chunk of the open round once per group.
// Thread-compatible.
class ContributionStore {
 public:
  void Put(GroupId group, Round round, BucketIndex bucket, StoredPart part) {
    parts_[{round, bucket, group}].push_back(std::move(part));
  }
  // The parts, in order of arrival (their order does not matter); they leave the store.
  std::vector<StoredPart> Take(GroupId group, Round round, BucketIndex bucket) {
    const auto node = parts_.extract({round, bucket, group});
    return node.empty() ? std::vector<StoredPart>() : std::move(node.mapped());
  }
  void Drop(GroupId group, Round round, BucketIndex bucket) {
    parts_.erase({round, bucket, group});
  }

 private:
  std::map<std::tuple<Round, BucketIndex, GroupId>, std::vector<StoredPart>> parts_;
};

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_MERGE_CONTRIBUTION_STORE_H_
