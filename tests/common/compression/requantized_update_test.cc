// Updates that say a mean of many contributions in few bits again (docs/protocol.md, P20).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "common/compression/payload_check.h"
#include "common/compression/update_payload.h"
#include "common/kernels/naive_block.h"
#include "common/kernels/simd.h"
#include "tests/common/compression/reference_merge.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kRound = 7;

UpdateFormat Requantized(uint32_t chunk_size, ValueFormat values, ValueFormat again) {
  UpdateFormat format{
      {Transform::kNone, chunk_size, chunk_size, values, Positions::kChosen, 0, true},
      MergeRule::kMean,
      false};
  format.requantized = again;
  return format;
}

// What groups send of `chunks`, one vector each, cut into payloads of at most `part` chunks.
class Groups {
 public:
  Groups(const UpdateFormat& format, ChunkRun chunks, const std::vector<std::vector<float>>& sent,
         const std::vector<uint64_t>& samples, uint64_t part = 1000)
      : format_(format), place_{kRound, chunks}, payloads_(sent.size()), views_(sent.size()) {
    const size_t size = format.contribution.chunk_size;
    const std::vector<float> weights = MergeWeights(samples);
    for (size_t i = 0; i < sent.size(); ++i) {
      std::vector<PayloadPlace> places;
      for (uint64_t at = 0; at < chunks.count; at += part) {
        places.push_back({kRound, {chunks.first + at, std::min(part, chunks.count - at)}});
        const std::span<const float> rows =
            std::span(sent[i]).subspan(at * size, places.back().chunks.count * size);
        payloads_[i].push_back(
            PayloadOf(format.contribution, places.back(), {rows.begin(), rows.end()}));
      }
      for (size_t p = 0; p < places.size(); ++p) {
        views_[i].push_back(ViewOf(payloads_[i][p], format.contribution, places[p]));
      }
      const std::string whole = PayloadOf(format.contribution, place_, sent[i]);
      said_.push_back({weights[i], *DecodePayload(AsBytes(whole), format.contribution, place_)});
      inputs_.push_back({weights[i], views_[i]});
    }
  }
  Groups(const Groups&) = delete;

  std::string Update() const { return EncodeUpdate(format_, place_, inputs_); }
  // As they are forwarded: of the one at `own` nothing.
  std::vector<EncodedContribution> Forwarded(size_t own) const {
    std::vector<EncodedContribution> contributions(payloads_.size());
    for (size_t i = 0; i < payloads_.size(); ++i) {
      contributions[i].weight = inputs_[i].weight;
      if (i == own) continue;
      for (const std::string& part : payloads_[i]) contributions[i].parts.push_back(AsBytes(part));
    }
    return contributions;
  }
  const PayloadPlace& place() const { return place_; }
  MergedBucket Mean() const {
    return ReferenceMerge(MergeRule::kMean, format_.contribution.chunk_size, place_.chunks.first,
                          place_.chunks.count, said_);
  }

 private:
  const UpdateFormat format_;
  const PayloadPlace place_;
  std::vector<std::vector<std::string>> payloads_;
  std::vector<std::vector<PayloadView>> views_;
  std::vector<MergeInput> inputs_;
  std::vector<WeightedSelection> said_;
};

// A mean taken block by block: what is said of it, and of how many chunks something is.
struct NaiveUpdate {
  NaiveUpdate(const UpdateFormat& format, std::vector<float> mean)
      : direction(mean.size()), bits(ValueBits(*format.requantized)) {
    const size_t size = format.contribution.chunk_size;
    for (size_t chunk = 0; chunk < mean.size(); chunk += size) {
      bool some = false;
      for (size_t at = chunk; at < chunk + size; at += naive::kBlock) {
        uint64_t codes[4];
        const int scale = naive::TakeBlock(bits, mean.data() + at, codes);
        if (scale < 1) continue;
        naive::SayBlock(bits, scale, codes, direction.data() + at);
        some = true;
      }
      if (some) ++present;
    }
    const uint64_t chunks = mean.size() / size;
    const uint64_t map = present < chunks ? (chunks + 7) / 8 : 0;
    bytes =
        32 + 34 + map + present * (size / naive::kBlock) * (1 + 8 * static_cast<uint64_t>(bits));
  }
  std::vector<float> direction;
  int bits;
  uint64_t present = 0;
  uint64_t bytes = 0;
};

std::vector<float> DirectionOf(const UpdateView& view, const UpdateFormat& format,
                               const ChunkRun& run, const PayloadView* own = nullptr) {
  std::vector<float> u(run.count * format.contribution.chunk_size, 99.0f);
  DirectionScratch scratch(format, ActiveKernels());
  view.Direction(run.first, u, own, scratch);
  return u;
}

class RequantizedUpdateTest
    : public testing::TestWithParam<std::tuple<size_t, uint32_t, ValueFormat, ValueFormat>> {
 protected:
  const size_t groups_ = std::get<0>(GetParam());
  const uint32_t size_ = std::get<1>(GetParam());
  const UpdateFormat format_ = Requantized(size_, std::get<2>(GetParam()), std::get<3>(GetParam()));
  Rng rng_{groups_ + size_};

  std::vector<std::vector<float>> Adversarial(uint64_t chunks) {
    std::vector<std::vector<float>> sent;
    for (size_t i = 0; i < groups_; ++i) sent.push_back(AdversarialVector(rng_, size_, chunks));
    return sent;
  }
  std::vector<std::vector<float>> Normal(uint64_t chunks) {
    std::vector<std::vector<float>> sent;
    for (size_t i = 0; i < groups_; ++i) sent.push_back(RandomVector(rng_, size_ * chunks));
    return sent;
  }
  // Returns the update.
  std::string ExpectNaive(const Groups& groups) {
    const NaiveUpdate naive(format_, groups.Mean().coefficients);
    std::string update = groups.Update();
    EXPECT_EQ(update.size(), naive.bytes);
    const auto view = UpdateView::Parse(AsBytes(update), format_, groups.place());
    EXPECT_TRUE(view.ok()) << view.status();
    if (!view.ok()) return update;
    EXPECT_EQ(view->encoding(), UpdateEncoding::kRequantized);
    EXPECT_FALSE(view->needs_own());
    EXPECT_EQ(Bits(DirectionOf(*view, format_, groups.place().chunks)), Bits(naive.direction));
    return update;
  }
};

TEST_P(RequantizedUpdateTest, P20_IsTheNaiveBlocksOfTheMean) {
  for (const uint64_t chunks : {0, 1, 16, 41}) {
    const std::vector<uint64_t> equal(groups_, 1);
    ExpectNaive(Groups(format_, {50, chunks}, Adversarial(chunks), equal));
    const std::string all = ExpectNaive(Groups(format_, {50, chunks}, Normal(chunks), equal));
    EXPECT_EQ(all.size(), SmallestUpdateBytes(format_, chunks));
  }
}

TEST_P(RequantizedUpdateTest, P10_IsTheNaiveBlocksOfAWeightedMean) {
  std::vector<uint64_t> samples(groups_, 3);
  samples.front() = 0;
  samples.back() = 7;
  ExpectNaive(Groups(format_, {3, 20}, Adversarial(20), samples));
}

// The few that are not quantized again, whoever receives them.
TEST_P(RequantizedUpdateTest, P10_P20_ForwardedContributionsSayTheMeanItself) {
  std::vector<uint64_t> samples(groups_, 3);
  for (const bool equal : {true, false}) {
    if (!equal) samples.back() = 7;
    for (const uint64_t chunks : {0, 1, 16, 41}) {
      const std::vector<std::vector<float>> sent = Adversarial(chunks);
      for (const uint64_t part : {1000, 5}) {
        const Groups groups(format_, {50, chunks}, sent, samples, part);
        const std::vector<float> mean = groups.Mean().coefficients;
        for (size_t own = 0; own < groups_; ++own) {
          const std::vector<EncodedContribution> forwarded = groups.Forwarded(own);
          const auto view = UpdateView::FromContributions(forwarded, static_cast<int>(own), format_,
                                                          groups.place());
          ASSERT_TRUE(view.ok()) << view.status();
          const std::string mine = PayloadOf(format_.contribution, groups.place(), sent[own]);
          const PayloadView its = ViewOf(mine, format_.contribution, groups.place());
          EXPECT_EQ(Bits(DirectionOf(*view, format_, groups.place().chunks, &its)), Bits(mean));
        }
      }
    }
  }
}

TEST_P(RequantizedUpdateTest, P10_HowContributionsAreCutDoesNotMatter) {
  const std::vector<std::vector<float>> sent = Adversarial(37);
  const std::vector<uint64_t> equal(groups_, 1);
  const std::string whole = Groups(format_, {9, 37}, sent, equal).Update();
  for (const uint64_t part : {1, 5, 16, 36}) {
    EXPECT_EQ(ExpectNaive(Groups(format_, {9, 37}, sent, equal, part)), whole);
  }
}

TEST_P(RequantizedUpdateTest, P21_AnyRunOfChunksGivesTheSameBits) {
  const Groups groups(format_, {12, 50}, Adversarial(50), std::vector<uint64_t>(groups_, 1));
  const std::string update = groups.Update();
  const auto view = UpdateView::Parse(AsBytes(update), format_, groups.place());
  ASSERT_TRUE(view.ok()) << view.status();
  const std::vector<float> whole = DirectionOf(*view, format_, groups.place().chunks);
  for (uint64_t first = 0; first < 50; ++first) {
    const uint64_t count = rng_.Below(50 - first + 1);
    EXPECT_EQ(Bits(DirectionOf(*view, format_, {12 + first, count})),
              Bits(std::span(whole).subspan(first * size_, count * size_)));
  }
}

// With the memory of another update, of either kind.
TEST_P(RequantizedUpdateTest, AViewTakesOneUpdateAfterTheOther) {
  const std::vector<uint64_t> equal(groups_, 1);
  UpdateView view;
  for (const uint64_t chunks : {20, 3, 33}) {
    const Groups groups(format_, {4, chunks}, Adversarial(chunks), equal);
    const std::vector<EncodedContribution> forwarded = groups.Forwarded(groups_);
    ASSERT_TRUE(
        view.SetContributions(forwarded, UpdateView::kNotHere, format_, groups.place()).ok());
    EXPECT_EQ(Bits(DirectionOf(view, format_, groups.place().chunks)),
              Bits(groups.Mean().coefficients));
    const std::string update = groups.Update();
    ASSERT_TRUE(view.SetPayload(AsBytes(update), format_, groups.place()).ok());
    EXPECT_EQ(Bits(DirectionOf(view, format_, groups.place().chunks)),
              Bits(NaiveUpdate(format_, groups.Mean().coefficients).direction));
    EXPECT_FALSE(view.SetPayload(AsBytes(update).first(5), format_, groups.place()).ok());
  }
}

// Of three chunks the first is not sent by anybody, the second cancels out.
TEST_P(RequantizedUpdateTest, AChunkWhoseMeanIsZeroIsAbsent) {
  std::vector<std::vector<float>> sent(groups_, std::vector<float>(3 * size_));
  std::fill_n(sent[0].begin() + size_, 2 * size_, 1.0f);
  std::fill_n(sent[1].begin() + size_, size_, -1.0f);
  const Groups groups(format_, {0, 3}, sent, std::vector<uint64_t>(groups_, 1));
  const std::string update = ExpectNaive(groups);
  EXPECT_EQ(update.size(), SmallestUpdateBytes(format_, 1) + 1);
  EXPECT_EQ(update[32 + 34], 1 << 2);  // the payload's presence
  const std::vector<float> u =
      DirectionOf(*UpdateView::Parse(AsBytes(update), format_, groups.place()), format_, {0, 3});
  EXPECT_TRUE(std::all_of(u.begin(), u.begin() + 2 * size_, [](float x) { return x == 0.0f; }));
  EXPECT_TRUE(std::all_of(u.begin() + 2 * size_, u.end(), [](float x) { return x > 0.0f; }));
}

INSTANTIATE_TEST_SUITE_P(
    All, RequantizedUpdateTest,
    testing::Combine(testing::Values(3, 5), testing::Values(64u, 256u),
                     testing::Values(ValueFormat::kOneBit, ValueFormat::kTwoBit),
                     testing::Values(ValueFormat::kTwoBit, ValueFormat::kInt4)));

// --- what is refused -----------------------------------------------------------------------------

constexpr size_t kCrc = 28;
constexpr size_t kInner = 32;
constexpr size_t kInnerCrc = kInner + 30;
constexpr size_t kFirstBlock = kInner + 34;
constexpr ChunkRun kChunks{4, 2};

// Two chunks of two blocks each, of which the last has nothing; in 4 bits.
class RequantizedViolationTest : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<float> sent(256, 1.0f);
    std::fill_n(sent.end() - 64, 64, 0.0f);
    update_ = Groups(format_, kChunks, {sent, sent, sent}, {1, 1, 1}).Update();
    ASSERT_EQ(update_.size(), kFirstBlock + 4 * kBlockBytes);
  }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(update_)); }
  // As who wrote it so would have: with checksums that are right.
  void Reseal() { StorePayloadCrc(kCrc, bytes()); }
  void ResealBoth() {
    StorePayloadCrc(kInnerCrc - kInner, bytes().subspan(kInner));
    Reseal();
  }
  absl::Status ParseAs(const UpdateFormat& format) const {
    return UpdateView::Parse(AsBytes(update_), format, {kRound, kChunks}).status();
  }
  void ExpectRefusedAs(const UpdateFormat& format, const std::string& words,
                       absl::StatusCode code = absl::StatusCode::kInvalidArgument) const {
    const absl::Status status = ParseAs(format);
    EXPECT_EQ(status.code(), code) << words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
  void ExpectRefused(const std::string& words) const { ExpectRefusedAs(format_, words); }
  void Flip(size_t at, int bits) { update_[at] = static_cast<char>(update_[at] ^ bits); }

  static constexpr size_t kBlockBytes = 1 + 32;
  const UpdateFormat format_ = Requantized(128, ValueFormat::kTwoBit, ValueFormat::kInt4);
  std::string update_;
};

TEST_F(RequantizedViolationTest, TheUntouchedUpdateIsFine) {
  EXPECT_TRUE(ParseAs(format_).ok()) << ParseAs(format_);
  ResealBoth();
  EXPECT_TRUE(ParseAs(format_).ok()) << ParseAs(format_);
}

TEST_F(RequantizedViolationTest, ADamagedPayloadWithin) {
  for (size_t at = kInner + 3; at < update_.size(); ++at) {
    SetUp();
    Flip(at, 0x10);
    ExpectRefusedAs(format_, "update checksum: expected", absl::StatusCode::kDataLoss);
    Reseal();
    ExpectRefusedAs(format_, "contribution checksum: expected", absl::StatusCode::kDataLoss);
  }
}

TEST_F(RequantizedViolationTest, FieldsOfThePayloadWithin) {
  const std::tuple<size_t, int, std::string> fields[] = {
      {0, 0x10, "contribution magic: expected"},
      {2, 0x10, "contribution version: expected"},
      {3, 0x02, "contribution transform: expected 0, got 1"},
      {3, 0x08, "contribution positions: expected 0, got 1"},
      {3, 0x40, "contribution block scales: expected 1, got 0"},
      {4, 0x07, "contribution values: expected 2, got 5"},
      {5, 0x01, "contribution index_coding: expected"},
      {6, 0x40, "contribution chunk_size: expected 128, got 64"},
      {8, 0x40, "contribution k: expected 128, got 64"},
      {10, 0x01, "contribution chunk_count: expected 2, got 3"},
      {14, 0x01, "contribution first_chunk: expected 4, got 5"},
      {22, 0x01, "contribution round: expected 7, got 6"}};
  for (const auto& [at, bits, words] : fields) {
    SetUp();
    Flip(kInner + at, bits);
    ResealBoth();
    ExpectRefused(words);
  }
}

TEST_F(RequantizedViolationTest, BlocksThatNobodyWouldWrite) {
  update_[kFirstBlock + 1] = static_cast<char>(0x87);
  ResealBoth();
  ExpectRefused("record 0 of the run from chunk 4: block 0: expected no -0");
  SetUp();
  update_[kFirstBlock + 3 * kBlockBytes + 5] = 1;
  ResealBoth();
  ExpectRefused("record 1 of the run from chunk 4: block 1: expected no values without a scale");
  SetUp();
  std::fill(update_.begin() + kFirstBlock + 2 * kBlockBytes, update_.end(), '\0');
  ResealBoth();
  ExpectRefused("record 1 of the run from chunk 4: expected a block that says something");
}

TEST_F(RequantizedViolationTest, AnotherEncoding) {
  for (const int encoding : {0, 1, 2, 3, 4, 6, 255}) {
    update_[3] = static_cast<char>(encoding);
    Reseal();
    ExpectRefused("update encoding: expected 5, got " + std::to_string(encoding));
  }
}

// The payload within has one if it needs one: there is one way to say a thing.
TEST_F(RequantizedViolationTest, PresenceBeforeThePayload) {
  update_[4] = 1;
  update_.insert(kInner, 1, '\1');  // the second chunk is absent
  Reseal();
  ExpectRefused("update flags: expected 0, got 1");
}

TEST_F(RequantizedViolationTest, AnUpdateOfAnotherFormat) {
  UpdateFormat other = format_;
  other.requantized.reset();
  ExpectRefusedAs(other, "update encoding: expected 2, got 5");
  other.sign = true;
  ExpectRefusedAs(other, "update encoding: expected 1 or 2, got 5");
  other = format_;
  other.requantized = ValueFormat::kTwoBit;
  ExpectRefusedAs(other, "contribution values: expected 5, got 2");
  ExpectRefusedAs(Requantized(64, ValueFormat::kTwoBit, ValueFormat::kInt4),
                  "update chunk_size: expected 64, got 128");
  // What the contributions were in does not show.
  EXPECT_TRUE(ParseAs(Requantized(128, ValueFormat::kOneBit, ValueFormat::kInt4)).ok());
  other = format_;
  other.requantized.reset();
  update_ = Groups(other, kChunks, {std::vector<float>(256, 1.0f)}, {1}).Update();
  ASSERT_TRUE(ParseAs(other).ok()) << ParseAs(other);
  ExpectRefused("update encoding: expected 5, got 2");
}

TEST_F(RequantizedViolationTest, TooLongAndTooShort) {
  const std::string valid = update_;
  for (size_t size = kInner; size < valid.size(); ++size) {
    update_ = valid.substr(0, size);
    ExpectRefusedAs(format_, "update checksum: expected", absl::StatusCode::kDataLoss);
    Reseal();
    if (size < kFirstBlock) {
      ExpectRefused("contribution length: expected at least 34 bytes, got " +
                    std::to_string(size - kInner));
      continue;
    }
    ResealBoth();
    ExpectRefused("contribution length: expected 166, got " + std::to_string(size - kInner));
  }
  update_ = valid + '\0';
  ResealBoth();
  ExpectRefused("contribution length: expected 166, got 167");
}

TEST_F(RequantizedViolationTest, EveryFlippedBitIsDataLossOrAnUnknownFormat) {
  const std::string valid = update_;
  for (size_t bit = 0; bit < 8 * valid.size(); ++bit) {
    update_ = valid;
    Flip(bit / 8, 1 << bit % 8);
    EXPECT_EQ(ParseAs(format_).code(),
              bit < 24 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kDataLoss)
        << "bit " << bit;
  }
}

TEST_F(RequantizedViolationTest, RandomBytesNeverCrash) {
  Rng rng(20);
  const std::string valid = update_;
  for (int trial = 0; trial < Repetitions(20000); ++trial) {
    update_ = valid;
    if (rng.Chance(0.3)) update_.resize(kFirstBlock + rng.Below(update_.size() - kFirstBlock));
    for (uint64_t i = 0; i <= rng.Below(4); ++i) {
      update_[rng.Below(update_.size())] = static_cast<char>(rng());
    }
    ResealBoth();
    const auto view = UpdateView::Parse(AsBytes(update_), format_, {kRound, kChunks});
    if (view.ok()) DirectionOf(*view, format_, kChunks);
  }
}

}  // namespace
}  // namespace isthmus
