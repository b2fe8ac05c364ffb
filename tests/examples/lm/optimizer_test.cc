// AdamW and Muon, and the iterations that make Muon's momentum orthogonal.
#include "examples/lm/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "examples/lm/parameter_set.h"
#include "examples/lm/random.h"

namespace isthmus::lm {
namespace {

using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::Eq;
using ::testing::Gt;
using ::testing::Lt;
using ::testing::Pointwise;

// Row-major, in double: for what is said about matrices, not to be fast.
struct Matrix {
  Matrix(int r, int c) : rows(r), columns(c), values(size_t(r) * size_t(c)) {}
  Matrix(int r, int c, const std::vector<float>& from) : Matrix(r, c) {
    std::copy_n(from.begin(), values.size(), values.begin());
  }
  double& operator()(int i, int j) { return values[size_t(i) * size_t(columns) + size_t(j)]; }
  double operator()(int i, int j) const { return values[size_t(i) * size_t(columns) + size_t(j)]; }

  int rows, columns;
  std::vector<double> values;
};

Matrix Transposed(const Matrix& a) {
  Matrix t(a.columns, a.rows);
  for (int i = 0; i < a.rows; ++i) {
    for (int j = 0; j < a.columns; ++j) t(j, i) = a(i, j);
  }
  return t;
}

Matrix Product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.columns);
  for (int i = 0; i < a.rows; ++i) {
    for (int k = 0; k < a.columns; ++k) {
      for (int j = 0; j < b.columns; ++j) c(i, j) += a(i, k) * b(k, j);
    }
  }
  return c;
}

double Largest(const Matrix& a) {
  double largest = 0;
  for (const double value : a.values) largest = std::max(largest, std::abs(value));
  return largest;
}

double Asymmetry(const Matrix& a) {
  double most = 0;
  for (int i = 0; i < a.rows; ++i) {
    for (int j = 0; j < i; ++j) most = std::max(most, std::abs(a(i, j) - a(j, i)));
  }
  return most;
}

// Of a symmetric matrix, by Jacobi's rotations.
std::vector<double> Eigenvalues(Matrix a) {
  for (int sweep = 0; sweep < 12; ++sweep) {
    for (int p = 0; p < a.rows; ++p) {
      for (int q = p + 1; q < a.rows; ++q) {
        if (a(p, q) == 0) continue;
        const double theta = 0.5 * std::atan2(2 * a(p, q), a(q, q) - a(p, p));
        const double c = std::cos(theta), s = std::sin(theta);
        for (int k = 0; k < a.rows; ++k) {
          const double kp = a(k, p), kq = a(k, q);
          a(k, p) = c * kp - s * kq;
          a(k, q) = s * kp + c * kq;
        }
        for (int k = 0; k < a.rows; ++k) {
          const double pk = a(p, k), qk = a(q, k);
          a(p, k) = c * pk - s * qk;
          a(q, k) = s * pk + c * qk;
        }
      }
    }
  }
  std::vector<double> values;
  for (int i = 0; i < a.rows; ++i) values.push_back(a(i, i));
  return values;
}

std::vector<double> SingularValues(const Matrix& a) {
  std::vector<double> values =
      Eigenvalues(a.rows <= a.columns ? Product(a, Transposed(a)) : Product(Transposed(a), a));
  for (double& value : values) value = std::sqrt(std::max(0.0, value));
  return values;
}

std::vector<float> RandomValues(uint64_t seed, size_t count, double scale = 1.0) {
  const CounterRng rng({seed});
  std::vector<float> values(count);
  for (size_t j = 0; j < count; ++j) values[j] = static_cast<float>(scale * rng.Normal(j));
  return values;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) sum += double{a[j]} * double{b[j]};
  return sum;
}

double RootMeanSquare(const std::vector<float>& a) {
  return std::sqrt(Dot(a, a) / static_cast<double>(a.size()));
}

TEST(LmJacobiTest, KnowsTheSingularValuesOfAKnownMatrix) {
  Matrix a(2, 3);
  a(0, 0) = 3;
  a(0, 1) = a(1, 0) = 2;
  a(1, 1) = 3;
  a(0, 2) = 2;
  a(1, 2) = -2;
  std::vector<double> values = SingularValues(a);
  std::sort(values.begin(), values.end());
  EXPECT_NEAR(values[0], 3, 1e-12);
  EXPECT_NEAR(values[1], 5, 1e-12);
}

// What five iterations make of a singular value, as a part of its matrix's norm.
double Iterated(double value) {
  for (int i = 0; i < 5; ++i) {
    const double square = value * value;
    value *= 3.4445 + square * (-4.7750 + square * 2.0315);
  }
  return value;
}

// Singular values below 0.002 of the norm, as random square matrices may have, are out of reach for
// five iterations: each lifts such a value by 3.4 only.
TEST(LmNewtonSchulzTest, SingularValuesComeNearOneAndSingularVectorsStay) {
  std::vector<float> x, square;
  uint64_t seed = 1;
  for (const auto& [rows, columns] : {std::pair(16, 48), std::pair(48, 16), std::pair(24, 24),
                                      std::pair(32, 33), std::pair(1, 9), std::pair(9, 1)}) {
    // The scale of a gradient is no matter.
    for (const double scale : {1e-4, 1.0, 1e4}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << columns << ", seed " << seed);
      const auto size = static_cast<size_t>(rows) * static_cast<size_t>(columns);
      const std::vector<float> given = RandomValues(seed++, size, scale);
      std::vector<float> values = given;
      const Matrix before(rows, columns, given);
      NewtonSchulz(rows, columns, x, square, values.data());
      const Matrix after(rows, columns, values);
      const double norm = std::sqrt(Dot(given, given));
      std::vector<double> expected, singular = SingularValues(after);
      double least = 1;
      for (const double value : SingularValues(before)) {
        expected.push_back(Iterated(value / norm));
        least = std::min(least, value / norm);
      }
      EXPECT_THAT(singular, Each(AllOf(Gt(std::min(0.6, 300 * least)), Lt(1.3))));
      std::sort(expected.begin(), expected.end());
      std::sort(singular.begin(), singular.end());
      EXPECT_THAT(singular, Pointwise(DoubleNear(2e-3), expected));
      // With before = U S V', after = U T V' exactly where U S T U' and V S T V' are what these
      // are: symmetric, and nowhere negative.
      for (const Matrix& both :
           {Product(before, Transposed(after)), Product(Transposed(before), after)}) {
        const double error = 1e-4 * Largest(both);
        EXPECT_LT(Asymmetry(both), error);
        for (const double value : Eigenvalues(both)) EXPECT_GT(value, -error);
      }
    }
  }
}

TEST(LmNewtonSchulzTest, NothingStaysNothing) {
  std::vector<float> x, square, zeros(12);
  NewtonSchulz(3, 4, x, square, zeros.data());
  EXPECT_THAT(zeros, Each(0.0f));
}

Rates SomeRates(float lr, float decayed = 0) {
  Rates rates;
  rates.learning_rate.fill(lr);
  rates.weight_decay.fill(0);
  rates.weight_decay[kDecayedGroup] = decayed;
  return rates;
}

TensorSpec Tensor(std::string name, std::vector<int64_t> shape, uint32_t group) {
  return {std::move(name), std::move(shape), group, Initialisation::kZero};
}

// An embedding, a matrix of blocks, a bias, and a vector that decays.
std::vector<TensorSpec> MixedTensors() {
  return {Tensor("embedding", {20, 8}, kUndecayedGroup), Tensor("matrix", {12, 32}, kDecayedGroup),
          Tensor("bias", {32}, kUndecayedGroup), Tensor("vector", {6}, kDecayedGroup)};
}
constexpr size_t kMatrix = 1;

// All but the matrix.
template <typename T>
std::vector<T> Others(const std::vector<T>& all) {
  std::vector<T> others;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i != kMatrix) others.push_back(all[i]);
  }
  return others;
}

void Fill(ParameterSet<float>* set, uint64_t seed) {
  const std::vector<float> values = RandomValues(seed, set->flat().size());
  std::copy(values.begin(), values.end(), set->flat().begin());
}

TEST(LmAdamWTest, TheFirstStepIsTheRateAgainstTheSign) {
  const std::vector<TensorSpec> tensors = {Tensor("w", {3, 2}, kDecayedGroup),
                                           Tensor("b", {2}, kUndecayedGroup)};
  ParameterSet<float> parameters(tensors), gradients(tensors);
  gradients.flat() = {5, -5, 1e-3f, -1e3f, 0, 7, -1, 2};
  Rates rates = SomeRates(0.25f);
  rates.learning_rate[kUndecayedGroup] = 0.5f;
  MakeAdamW(tensors)->Step(rates, parameters.pointers(), gradients.pointers());
  const float expected[] = {-0.25f, 0.25f, -0.25f, 0.25f, 0, -0.25f, 0.5f, -0.5f};
  for (size_t j = 0; j < std::size(expected); ++j) {
    EXPECT_NEAR(parameters.flat()[j], expected[j], 1e-4 * 0.25) << j;
  }
}

TEST(LmAdamWTest, DecayIsDecoupledAndOfItsGroup) {
  const std::vector<TensorSpec> tensors = {Tensor("w", {2, 2}, kDecayedGroup),
                                           Tensor("b", {2}, kUndecayedGroup)};
  ParameterSet<float> parameters(tensors), gradients(tensors);
  parameters.flat() = {1, 2, 3, 4, 5, 6};
  MakeAdamW(tensors)->Step(SomeRates(0.5f, 0.5f), parameters.pointers(), gradients.pointers());
  EXPECT_THAT(parameters.flat(), testing::ElementsAre(0.75f, 1.5f, 2.25f, 3.0f, 5.0f, 6.0f));
}

TEST(LmMuonTest, AMatrixMovesByAFifthOfItsRateAgainstTheGradient) {
  constexpr float kRate = 0.01f;
  for (const auto& shape : {std::vector<int64_t>{12, 32}, {32, 12}, {64, 8}, {16, 16}}) {
    const std::vector<TensorSpec> tensors = {Tensor("w", shape, kDecayedGroup)};
    for (const double lr_to_adamw : {1.0, 4.0}) {
      ParameterSet<float> parameters(tensors), gradients(tensors);
      Fill(&gradients, 7);
      MakeMuon(tensors, {.lr_to_adamw = lr_to_adamw})
          ->Step(SomeRates(kRate), parameters.pointers(), gradients.pointers());
      const double expected = 0.2 * kRate * lr_to_adamw;
      const std::vector<float>& moved = parameters.flat();  // from zero
      EXPECT_NEAR(RootMeanSquare(moved), expected, 0.25 * expected) << shape[0] << "x" << shape[1];
      const double cosine = Dot(moved, gradients.flat()) /
                            std::sqrt(Dot(moved, moved) * Dot(gradients.flat(), gradients.flat()));
      EXPECT_LT(cosine, -0.7) << shape[0] << "x" << shape[1];
    }
  }
}

TEST(LmMuonTest, MomentumOutlivesTheGradient) {
  const std::vector<TensorSpec> tensors = {Tensor("w", {8, 24}, kDecayedGroup)};
  ParameterSet<float> parameters(tensors), gradients(tensors);
  Fill(&gradients, 3);
  const auto muon = MakeMuon(tensors);
  muon->Step(SomeRates(0.01f), parameters.pointers(), gradients.pointers());
  const std::vector<float> first = parameters.flat();
  gradients.flat().assign(gradients.flat().size(), 0.0f);
  muon->Step(SomeRates(0.01f), parameters.pointers(), gradients.pointers());
  // The same direction, orthogonalised again: as far as before, but for rounding.
  for (size_t j = 0; j < first.size(); ++j) {
    EXPECT_NEAR(parameters.flat()[j], 2 * first[j], 1e-3 * RootMeanSquare(first)) << j;
  }
}

TEST(LmMuonTest, AMatrixDecaysAtItsOwnRate) {
  const std::vector<TensorSpec> tensors = {Tensor("w", {2, 2}, kDecayedGroup)};
  ParameterSet<float> parameters(tensors), gradients(tensors);
  parameters.flat() = {1, 2, 3, 4};
  MakeMuon(tensors, {.lr_to_adamw = 2.0})
      ->Step(SomeRates(0.25f, 0.5f), parameters.pointers(), gradients.pointers());
  EXPECT_THAT(parameters.flat(), testing::ElementsAre(0.75f, 1.5f, 2.25f, 3.0f));
}

TEST(LmMuonTest, EmbeddingsAndVectorsAreLeftToAdamW) {
  const std::vector<TensorSpec> all = MixedTensors();
  const std::vector<TensorSpec> others = Others(all);
  const AdamWOptions adamw = {.beta2 = 0.99};
  const auto muon = MakeMuon(all, {.adamw = adamw});
  const auto alone = MakeAdamW(others, adamw);
  ParameterSet<float> at_muon(all), at_adamw(others), gradients(all), start(all);
  Fill(&start, 11);
  at_muon.flat() = start.flat();
  for (size_t i = 0; i < others.size(); ++i) {
    std::copy_n(Others(start.pointers())[i], others[i].size(), at_adamw.pointers()[i]);
  }
  for (uint64_t step = 0; step < 3; ++step) {
    Fill(&gradients, 100 + step);
    muon->Step(SomeRates(0.01f, 0.1f), at_muon.pointers(), gradients.pointers());
    alone->Step(SomeRates(0.01f, 0.1f), at_adamw.pointers(), Others(gradients.pointers()));
  }
  for (size_t i = 0; i < others.size(); ++i) {
    const float* from = Others(at_muon.pointers())[i];
    const float* expected = at_adamw.pointers()[i];
    EXPECT_THAT(std::vector<float>(from, from + others[i].size()),
                Pointwise(Eq(), std::vector<float>(expected, expected + others[i].size())))
        << others[i].name;
    EXPECT_NE(*from, *Others(start.pointers())[i]) << others[i].name;
  }
}

}  // namespace
}  // namespace isthmus::lm
