// Updates in pieces, as those who contributed are sent them and as those who did not.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "isthmus/v1/types.pb.h"
#include "server/log/update_ring.h"

namespace isthmus {
namespace {

// Of `contributions` groups, numbered from 1; each with two parts.
struct Example {
  explicit Example(uint32_t contributions) {
    whole.set_sequence(5);
    whole.set_round(2);
    whole.set_bucket(1);
    for (uint32_t i = 0; i < contributions; ++i) {
      v1::Contributor* contributor = whole.add_contributors();
      contributor->set_group_id(i + 1);
      contributor->set_incarnation(10 + i);
    }
    if (contributions == 0) whole.set_payload("payload");
    record.bytes = whole.SerializeAsString();
    for (uint32_t i = 0; i < contributions; ++i) {
      v1::Update piece;
      v1::EncodedContribution* contribution = piece.add_contributions();
      contribution->set_contributor(i);
      contribution->add_parts(std::string(3 + 5 * i, static_cast<char>('a' + i)));
      contribution->add_parts("more");
      *whole.add_contributions() = *contribution;
      record.contributions.push_back(
          {GroupId(i + 1), Incarnation(10 + i), piece.SerializeAsString()});
    }
  }
  v1::Update whole;
  UpdateRecord record;
};

// What `record` says to a process, copied `size` bytes at a time.
std::string CopyInPieces(const UpdateRecord& record, GroupId group, Incarnation incarnation,
                         uint64_t size) {
  const uint64_t total = record.BytesFor(group, incarnation);
  std::string copy;
  while (copy.size() < total) {
    const uint64_t wanted = std::min<uint64_t>(size, total - copy.size());
    const std::string piece = record.CopyFor(group, incarnation, copy.size(), wanted);
    EXPECT_EQ(piece.size(), wanted);
    if (piece.size() != wanted) break;
    copy += piece;
  }
  return copy;
}

// `whole` without the contribution at `left_out`, if there is one.
v1::Update Without(v1::Update whole, int left_out) {
  if (left_out >= 0) whole.mutable_contributions()->DeleteSubrange(left_out, 1);
  return whole;
}

void ExpectSent(const Example& example, GroupId group, Incarnation incarnation, int left_out) {
  const UpdateRecord& record = example.record;
  const v1::Update expected = Without(example.whole, left_out);
  const uint64_t total = record.BytesFor(group, incarnation);
  EXPECT_EQ(total, expected.SerializeAsString().size());
  const std::string whole = record.CopyFor(group, incarnation, 0, total);
  v1::Update parsed;
  ASSERT_TRUE(parsed.ParseFromString(whole));
  EXPECT_EQ(parsed.SerializeAsString(), expected.SerializeAsString());
  for (uint64_t size = 1; size <= total + 1; ++size) {
    EXPECT_EQ(CopyInPieces(record, group, incarnation, size), whole) << size;
  }
  for (uint64_t cut = 0; cut <= total; ++cut) {
    EXPECT_EQ(record.CopyFor(group, incarnation, 0, cut) +
                  record.CopyFor(group, incarnation, cut, total - cut),
              whole)
        << cut;
  }
}

TEST(UpdateRecordTest, P20_AContributorIsNotSentItsOwn) {
  for (const uint32_t contributions : {1u, 2u, 3u}) {
    const Example example(contributions);
    for (uint32_t i = 0; i < contributions; ++i) {
      ExpectSent(example, GroupId(i + 1), Incarnation(10 + i), static_cast<int>(i));
    }
  }
}

TEST(UpdateRecordTest, P20_EverybodyElseIsSentAll) {
  const Example example(3);
  ExpectSent(example, GroupId(4), Incarnation(10), -1);
  // Not the process that contributed: the contribution is not remembered there.
  ExpectSent(example, GroupId(2), Incarnation(12), -1);
  EXPECT_EQ(example.record.BytesFor(GroupId(4), Incarnation(1)), example.record.TotalBytes());
}

TEST(UpdateRecordTest, AnEncodedUpdateIsTheSameForAll) {
  const Example example(0);
  ExpectSent(example, GroupId(1), Incarnation(10), -1);
  EXPECT_EQ(example.record.TotalBytes(), example.record.bytes.size());
}

TEST(UpdateRecordTest, TheRingCountsContributionsToo) {
  const Example example(3);
  UpdateRing ring(1 << 20);
  ring.Append(Sequence(1), std::make_shared<UpdateRecord>(example.record), [] {});
  EXPECT_EQ(ring.bytes(), example.whole.SerializeAsString().size());
}

}  // namespace
}  // namespace isthmus
