#include "common/run/loss.h"

#include <gtest/gtest.h>

#include <cmath>

namespace isthmus {
namespace {

TEST(WeightedLossTest, WeighsBySamples) {
  WeightedLoss loss;
  loss.Add(2, 1);
  loss.Add(4, 3);
  EXPECT_EQ(loss.Mean(), 3.5f);
  EXPECT_EQ(loss.left_out(), 0u);
}

TEST(WeightedLossTest, WithoutSamplesAllWeighTheSame) {
  WeightedLoss loss;
  loss.Add(2, 0);
  loss.Add(4, 0);
  EXPECT_EQ(loss.Mean(), 3);
}

TEST(WeightedLossTest, WhatIsNoNumberIsLeftOutAndCounted) {
  WeightedLoss loss;
  loss.Add(NAN, 1000);
  loss.Add(2, 1);
  loss.Add(INFINITY, 1);
  EXPECT_EQ(loss.Mean(), 2);
  EXPECT_EQ(loss.left_out(), 2u);
}

TEST(WeightedLossTest, NothingLeftIsNoNumber) {
  WeightedLoss loss;
  EXPECT_TRUE(std::isnan(loss.Mean()));
  loss.Add(NAN, 1);
  EXPECT_TRUE(std::isnan(loss.Mean()));
}

}  // namespace
}  // namespace isthmus
