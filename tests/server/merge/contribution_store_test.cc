#include "server/merge/contribution_store.h"

#include <gtest/gtest.h>

#include <string>

namespace isthmus {
namespace {

StoredPart Part(uint64_t first) { return {{2, first, 1}, "payload " + std::to_string(first)}; }

TEST(ContributionStoreTest, TakesOutWhatWasPutInOnce) {
  ContributionStore store;
  store.Put(GroupId(1), Round(2), BucketIndex(3), Part(10));
  store.Put(GroupId(1), Round(2), BucketIndex(3), Part(5));
  store.Put(GroupId(2), Round(2), BucketIndex(3), Part(7));
  const auto parts = store.Take(GroupId(1), Round(2), BucketIndex(3));
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].place, (PayloadPlace{2, {10, 1}}));
  EXPECT_EQ(parts[0].payload, "payload 10");
  EXPECT_EQ(parts[1].place, (PayloadPlace{2, {5, 1}}));
  EXPECT_EQ(parts[1].payload, "payload 5");
  EXPECT_TRUE(store.Take(GroupId(1), Round(2), BucketIndex(3)).empty());
  EXPECT_EQ(store.Take(GroupId(2), Round(2), BucketIndex(3)).size(), 1u);
}

TEST(ContributionStoreTest, DropsOneContributionOnly) {
  ContributionStore store;
  store.Put(GroupId(1), Round(2), BucketIndex(0), Part(0));
  store.Put(GroupId(1), Round(2), BucketIndex(1), Part(1));
  store.Drop(GroupId(1), Round(2), BucketIndex(0));
  store.Drop(GroupId(9), Round(2), BucketIndex(0));
  EXPECT_TRUE(store.Take(GroupId(1), Round(2), BucketIndex(0)).empty());
  EXPECT_EQ(store.Take(GroupId(1), Round(2), BucketIndex(1)).size(), 1u);
}

}  // namespace
}  // namespace isthmus
