#include "tests/rivals/power_sgd.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "examples/lm/gemm.h"
#include "examples/lm/random.h"

namespace isthmus::rivals {
namespace {

using lm::Gemm;
using lm::Operand;
using lm::Transpose;

// Columns of a row-major matrix.
class Columns {
 public:
  Columns(int rows, int columns, float* data) : rows_(rows), columns_(columns), data_(data) {}

  void Project(int column, int away_from) {
    double dot = 0;
    for (int row = 0; row < rows_; ++row) dot += double{at(row, away_from)} * at(row, column);
    const float amount = static_cast<float>(dot);
    for (int row = 0; row < rows_; ++row) at(row, column) -= amount * at(row, away_from);
  }

  // To norm 1; zero stays zero.
  void Normalize(int column) {
    double squares = 0;
    for (int row = 0; row < rows_; ++row) squares += double{at(row, column)} * at(row, column);
    const float scale = squares > 0 ? static_cast<float>(1 / std::sqrt(squares)) : 0.0f;
    for (int row = 0; row < rows_; ++row) at(row, column) *= scale;
  }

  int size() const { return columns_; }

 private:
  float& at(int row, int column) { return data_[row * columns_ + column]; }

  const int rows_;
  const int columns_;
  float* const data_;
};

// Gram-Schmidt. Twice for each column: what is left of one that the others nearly span is rounding,
// and not yet at right angles to them.
void Orthogonalize(Columns matrix) {
  for (int column = 0; column < matrix.size(); ++column) {
    for (int pass = 0; pass < 2; ++pass) {
      for (int before = 0; before < column; ++before) matrix.Project(column, before);
      matrix.Normalize(column);
    }
  }
}

}  // namespace

PowerSgd::PowerSgd(std::vector<lm::TensorSpec> tensors, int sites, int rank, uint64_t seed)
    : tensors_(std::move(tensors)), matrices_(tensors_.size()) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].shape.size() < 2) continue;
    Matrix& matrix = matrices_[i];
    matrix.rows = static_cast<int>(tensors_[i].shape[0]);
    matrix.columns = static_cast<int>(tensors_[i].size() / matrix.rows);
    matrix.rank = std::min({rank, matrix.rows, matrix.columns});
    matrix.left.resize(static_cast<size_t>(matrix.rows) * matrix.rank);
    matrix.right.resize(static_cast<size_t>(matrix.columns) * matrix.rank);
    matrix.product.resize(static_cast<size_t>(tensors_[i].size()));
    matrix.errors.assign(static_cast<size_t>(sites), std::vector<float>(matrix.product.size()));
    const lm::CounterRng rng({seed, 0x706f776572, i});
    for (size_t j = 0; j < matrix.right.size(); ++j) {
      matrix.right[j] = static_cast<float>(rng.Normal(j));
    }
  }
}

void PowerSgd::Average(const PerSite& gradients) {
  for (size_t i = 0; i < matrices_.size(); ++i) {
    if (matrices_[i].rank == 0) {
      AverageTensor(gradients, i, tensors_[i].size());
    } else {
      AverageMatrix(gradients, i);
    }
  }
}

void PowerSgd::AverageMatrix(const PerSite& gradients, size_t i) {
  Matrix& m = matrices_[i];
  const float share = 1.0f / static_cast<float>(gradients.size());
  // From here on errors[site] is what the site wants to send: its gradient and what was left out.
  for (size_t site = 0; site < gradients.size(); ++site) {
    for (size_t j = 0; j < m.product.size(); ++j) m.errors[site][j] += gradients[site][i][j];
  }
  // The two sums over sites are the two all-reduces.
  std::fill(m.left.begin(), m.left.end(), 0.0f);
  for (const std::vector<float>& error : m.errors) {
    Gemm(m.rows, m.rank, m.columns, share, Operand<float>{error.data(), m.columns},
         Operand<float>{m.right.data(), m.rank}, 1.0f, m.left.data(), m.rank);
  }
  Orthogonalize(Columns(m.rows, m.rank, m.left.data()));
  std::fill(m.right.begin(), m.right.end(), 0.0f);
  for (const std::vector<float>& error : m.errors) {
    Gemm(m.columns, m.rank, m.rows, share, Operand<float>{error.data(), m.columns, Transpose::kYes},
         Operand<float>{m.left.data(), m.rank}, 1.0f, m.right.data(), m.rank);
  }
  Gemm(m.rows, m.columns, m.rank, 1.0f, Operand<float>{m.left.data(), m.rank},
       Operand<float>{m.right.data(), m.rank, Transpose::kYes}, 0.0f, m.product.data(), m.columns);
  for (size_t site = 0; site < gradients.size(); ++site) {
    for (size_t j = 0; j < m.product.size(); ++j) m.errors[site][j] -= m.product[j];
    std::copy(m.product.begin(), m.product.end(), gradients[site][i]);
  }
}

int64_t PowerSgd::values_per_step() const {
  int64_t values = 0;
  for (size_t i = 0; i < matrices_.size(); ++i) {
    const Matrix& m = matrices_[i];
    values += m.rank == 0 ? tensors_[i].size() : int64_t{m.rows + m.columns} * m.rank;
  }
  return values;
}

}  // namespace isthmus::rivals
