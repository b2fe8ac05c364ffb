// An update's effect is a function of the contributions alone (docs/protocol.md, P10, P20, P21):
// random contributions through every encoding, against plain loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "common/compression/update_payload.h"
#include "common/kernels/simd.h"
#include "tests/common/compression/reference_merge.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

// One group's contribution, whole and in parts.
struct Group {
  float weight = 1.0f;
  std::string whole;
  PayloadView whole_view;
  std::deque<std::string> parts;  // in random order
  std::vector<PayloadView> part_views;
};

class Bucket {
 public:
  explicit Bucket(uint64_t seed) : rng_(seed) {
    ChooseFormat();
    const size_t group_count = 1 + rng_.Below(6);
    std::vector<uint64_t> samples;
    const bool equal = rng_.Chance(0.5);
    for (size_t i = 0; i < group_count; ++i) {
      samples.push_back(equal ? 5 : rng_.Chance(0.1) ? 0 : 1 + rng_.Below(1000));
      MakeGroup();
    }
    const std::vector<float> weights = MergeWeights(samples);
    for (size_t i = 0; i < group_count; ++i) {
      groups_[i].weight = weights[i];
      selections_.push_back(
          {weights[i], *DecodePayload(AsBytes(groups_[i].whole), format_.contribution, place_)});
    }
    merged_ =
        ReferenceMerge(format_.merge, size(), place_.chunks.first, place_.chunks.count, selections_);
    expected_ = ReferenceDirection(format_, merged_);
  }

  // What EncodeUpdate() makes of wholes and of parts is the same bytes, with this effect.
  UpdateEncoding CheckEncoded() {
    std::vector<MergeInput> wholes, parts;
    for (const Group& group : groups_) {
      wholes.push_back({group.weight, {&group.whole_view, 1}});
      parts.push_back({group.weight, group.part_views});
    }
    const std::string update = EncodeUpdate(format_, place_, wholes);
    EXPECT_EQ(EncodeUpdate(format_, place_, parts), update);
    EXPECT_EQ(update.size(), SmallestBytes());
    const auto view = UpdateView::Parse(AsBytes(update), format_, place_);
    EXPECT_TRUE(view.ok()) << view.status();
    CheckDirection(*view, nullptr);
    return view->encoding();
  }

  // The same of the contributions themselves, where the receiver lacks nothing, or has its own.
  void CheckContributions() {
    for (bool in_parts : {false, true}) {
      std::vector<EncodedContribution> contributions;
      for (const Group& group : groups_) {
        EncodedContribution& contribution = contributions.emplace_back();
        contribution.weight = group.weight;
        if (in_parts) {
          for (const std::string& part : group.parts) contribution.parts.push_back(AsBytes(part));
        } else {
          contribution.parts.push_back(AsBytes(group.whole));
        }
      }
      const auto all =
          UpdateView::FromContributions(contributions, UpdateView::kNotHere, format_, place_);
      ASSERT_TRUE(all.ok()) << all.status();
      CheckDirection(*all, nullptr);
      const size_t own = rng_.Below(groups_.size());
      contributions[own].parts.clear();
      const auto others =
          UpdateView::FromContributions(contributions, static_cast<int>(own), format_, place_);
      ASSERT_TRUE(others.ok()) << others.status();
      CheckDirection(*others, &groups_[own].whole_view);
    }
  }

 private:
  uint32_t size() const { return format_.contribution.chunk_size; }

  // By trying all encodings that the format has.
  uint64_t SmallestBytes() const {
    const auto present = static_cast<uint64_t>(
        std::count(merged_.present.begin(), merged_.present.end(), uint8_t{1}));
    const auto coefficients = static_cast<uint64_t>(
        std::count_if(merged_.coefficients.begin(), merged_.coefficients.end(),
                      [](float x) { return x != 0.0f; }));
    const uint64_t absent = merged_.present.size() - present;
    const uint64_t before = 32 + (absent > 0 ? BytesForBits(merged_.present.size()) : 0);
    uint64_t smallest = before + present * size() / 8 + 4 * coefficients;
    if (!format_.sign) return smallest;
    const uint64_t k = format_.contribution.k;
    const bool known = format_.contribution.transform == Transform::kNone &&
                       format_.contribution.positions != Positions::kChosen && k < size();
    const auto directions = static_cast<uint64_t>(
        std::count_if(expected_.begin(), expected_.end(), [](float u) { return u != 0.0f; }));
    const uint64_t elements = present * (known ? k : size());
    smallest = std::min(smallest, before + BytesForBits(elements) + 4 * (elements - directions));
    return known ? std::min(smallest, before + (elements + 4) / 5) : smallest;
  }

  void ChooseFormat() {
    PayloadFormat& contribution = format_.contribution;
    contribution.transform = rng_.Chance(0.5) ? Transform::kDct : Transform::kNone;
    contribution.chunk_size = 16u << rng_.Below(4);
    contribution.values = kValueFormats[rng_.Below(std::size(kValueFormats))];
    contribution.positions = static_cast<Positions>(rng_.Below(4));
    contribution.seed = rng_();
    const uint32_t powers[] = {1, 2, 4, 8, size() / 2, size()};
    contribution.k = powers[rng_.Below(6)];
    if (contribution.positions == Positions::kChosen && rng_.Chance(0.5)) {
      contribution.k = 1 + static_cast<uint32_t>(rng_.Below(size()));
    }
    format_.merge = static_cast<MergeRule>(rng_.Below(3));
    format_.sign = rng_.Chance(0.6);
    place_ = {rng_.Below(1000), rng_.Below(1000), rng_.Chance(0.05) ? 0 : rng_.Below(70)};
  }

  // Chunks of all characters; in some buckets most chunks have nothing.
  void MakeGroup() {
    Group& group = groups_.emplace_back();
    std::vector<float> m = rng_.Chance(0.3) ? RandomVector(rng_, place_.chunks.count * size())
                                            : AdversarialVector(rng_, size(), place_.chunks.count);
    if (rng_.Chance(0.3)) {
      for (size_t i = 0; i < m.size(); ++i) {
        if (i / size() % 5 != 2) m[i] = 0.0f;
      }
    }
    group.whole = PayloadOf(format_.contribution, place_, m);
    group.whole_view = ViewOf(group.whole, format_.contribution, place_);
    for (uint64_t at = 0; at < place_.chunks.count;) {
      const uint64_t count = 1 + rng_.Below(place_.chunks.count - at);
      const auto begin = m.begin() + static_cast<ptrdiff_t>(at * size());
      const auto end = begin + static_cast<ptrdiff_t>(count * size());
      const PayloadPlace part{place_.round, {place_.chunks.first + at, count}};
      group.parts.push_back(PayloadOf(format_.contribution, part, {begin, end}));
      at += count;
    }
    std::shuffle(group.parts.begin(), group.parts.end(), rng_);
    for (const std::string& part : group.parts) {
      group.part_views.push_back(
          ViewOf(part, format_.contribution, *PayloadView::PeekPlace(AsBytes(part))));
    }
  }

  // Of the whole bucket and of a run, by any set of instructions.
  void CheckDirection(const UpdateView& view, const PayloadView* own) {
    const std::vector<const TileKernels*>& sets = AvailableKernels();
    DirectionScratch scratch(format_, *sets[rng_.Below(sets.size())]);
    std::vector<float> u(expected_.size(), 99.0f);
    view.Direction(place_.chunks.first, u, own, scratch);
    ASSERT_EQ(Bits(u), Bits(expected_));
    const uint64_t first = rng_.Below(place_.chunks.count + 1);
    const uint64_t count = rng_.Below(place_.chunks.count - first + 1);
    std::vector<float> run(count * size(), 99.0f);
    view.Direction(place_.chunks.first + first, run, own, scratch);
    ASSERT_EQ(Bits(run), Bits(std::span(expected_).subspan(first * size(), count * size())));
  }

  Rng rng_;
  UpdateFormat format_;
  PayloadPlace place_;
  std::deque<Group> groups_;  // views point into it
  std::vector<WeightedSelection> selections_;
  MergedBucket merged_;  // these two: by the reference
  std::vector<float> expected_;
};

TEST(UpdatePropertyTest, P20_EncodingNeverChangesABitOfTheDirection) {
  int encodings[4] = {};
  for (uint64_t seed = 0; seed < Repetitions(3000); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Bucket bucket(seed);
    ++encodings[static_cast<int>(bucket.CheckEncoded())];
    bucket.CheckContributions();
    if (HasFailure()) return;
  }
  for (UpdateEncoding encoding :
       {UpdateEncoding::kSigns, UpdateEncoding::kValues, UpdateEncoding::kTernary}) {
    EXPECT_GT(encodings[static_cast<int>(encoding)], Repetitions(100))
        << static_cast<int>(encoding);
  }
}

}  // namespace
}  // namespace isthmus
