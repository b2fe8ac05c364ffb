#include "server/log/update_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

// What the tests ask a ring: it answers at once.
class Ring : public UpdateRing {
 public:
  using UpdateRing::UpdateRing;
  void Append(Sequence sequence, std::shared_ptr<const UpdateRecord> record) {
    bool appended = false;
    UpdateRing::Append(sequence, std::move(record), [&] { appended = true; });
    EXPECT_TRUE(appended);
  }
  std::shared_ptr<const UpdateRecord> Get(Sequence sequence) const {
    const ReadResult result = Read(sequence, [] { ADD_FAILURE() << "it is here, or not"; });
    EXPECT_EQ(result.found, result.record == nullptr ? Found::kDropped : Found::kHere);
    return result.record;
  }
};

std::shared_ptr<const UpdateRecord> Record(uint64_t size, char fill = 'x') {
  return std::make_shared<UpdateRecord>(UpdateRecord{std::string(size, fill), {}});
}

TEST(UpdateRingTest, HandsOutWhatWasAppended) {
  Ring ring(100);
  EXPECT_EQ(ring.first_available(), Sequence(1));
  EXPECT_EQ(ring.Get(Sequence(0)), nullptr);
  EXPECT_EQ(ring.Get(Sequence(1)), nullptr);
  ring.Append(Sequence(1), Record(10, 'a'));
  ring.Append(Sequence(2), Record(20, 'b'));
  EXPECT_EQ(ring.first_available(), Sequence(1));
  EXPECT_EQ(ring.bytes(), 30u);
  EXPECT_EQ(ring.Get(Sequence(1))->bytes, std::string(10, 'a'));
  EXPECT_EQ(ring.Get(Sequence(2))->bytes, std::string(20, 'b'));
  EXPECT_EQ(ring.Get(Sequence(3)), nullptr);
}

TEST(UpdateRingTest, DropsTheOldestBeyondItsCapacity) {
  Ring ring(100);
  for (uint64_t s = 1; s <= 10; ++s) ring.Append(Sequence(s), Record(30));
  EXPECT_EQ(ring.first_available(), Sequence(8));
  EXPECT_EQ(ring.bytes(), 90u);
  EXPECT_EQ(ring.Get(Sequence(7)), nullptr);
  EXPECT_NE(ring.Get(Sequence(8)), nullptr);
}

TEST(UpdateRingTest, AlwaysHoldsTheNewest) {
  Ring ring(100);
  ring.Append(Sequence(1), Record(30));
  ring.Append(Sequence(2), Record(1000));
  EXPECT_EQ(ring.first_available(), Sequence(2));
  EXPECT_NE(ring.Get(Sequence(2)), nullptr);
  ring.Append(Sequence(3), Record(40));
  EXPECT_EQ(ring.first_available(), Sequence(3));
  EXPECT_EQ(ring.bytes(), 40u);
}

TEST(UpdateRingTest, HoldsWhatItIsToldToWhateverTheBytes) {
  Ring ring(1);
  ring.KeepAtLeast(3);
  for (uint64_t s = 1; s <= 5; ++s) ring.Append(Sequence(s), Record(4));
  EXPECT_EQ(ring.first_available(), Sequence(3));
  EXPECT_EQ(ring.bytes(), 12u);
}

TEST(UpdateRingTest, ARecordOutlivesItsPlaceInTheRing) {
  Ring ring(10);
  ring.Append(Sequence(1), Record(10, 'a'));
  const auto record = ring.Get(Sequence(1));
  ring.Append(Sequence(2), Record(10, 'b'));
  EXPECT_EQ(ring.Get(Sequence(1)), nullptr);
  EXPECT_EQ(record->bytes, std::string(10, 'a'));
}

TEST(UpdateRingDeathTest, ChecksThatSequencesFollowEachOther) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  Ring ring(100);
  EXPECT_DEATH(ring.Append(Sequence(2), Record(1)), "check failed");
  ring.Append(Sequence(1), Record(1));
  EXPECT_DEATH(ring.Append(Sequence(1), Record(1)), "check failed");
}

TEST(UpdateRingTest, ReadersSeeWholeRecordsWhileAWriterAppends) {
  Ring ring(2000);
  constexpr uint64_t kRecords = 5000;
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!done) {
        const Sequence first = ring.first_available();
        if (const auto record = ring.Get(first)) {
          EXPECT_EQ(record->bytes, std::string(100, static_cast<char>('a' + first.value() % 26)));
        }
      }
    });
  }
  for (uint64_t s = 1; s <= kRecords; ++s) {
    ring.Append(Sequence(s), Record(100, static_cast<char>('a' + s % 26)));
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(ring.first_available(), Sequence(kRecords - 19));
}

}  // namespace
}  // namespace isthmus
