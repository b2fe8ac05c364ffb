#include "common/compression/block_transform.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/check.h"
#include "common/compression/dct.h"

namespace isthmus {
namespace {

std::vector<float> DctMatrix(size_t n) {
  std::vector<float> matrix(n * n);
  const double size = static_cast<double>(n);
  for (size_t f = 0; f < n; ++f) {
    const double scale = std::sqrt((f == 0 ? 1.0 : 2.0) / size);
    for (size_t j = 0; j < n; ++j) {
      const double angle = std::numbers::pi * static_cast<double>((2 * j + 1) * f) / (2.0 * size);
      matrix[f * n + j] = static_cast<float>(scale * std::cos(angle));
    }
  }
  return matrix;
}

// out[a, b] = sum_i sum_j rows[a, i] in[i, j] cols[b, j], or with both matrices transposed. Sums
// are in double: this path is a reference, and its error should not be the one that is measured.
void Separable(std::span<const float> in, std::span<const float> rows, std::span<const float> cols,
               size_t h, size_t w, bool transpose, std::span<float> out) {
  const auto row_at = [&](size_t a, size_t i) {
    return transpose ? rows[i * h + a] : rows[a * h + i];
  };
  const auto col_at = [&](size_t b, size_t j) {
    return transpose ? cols[j * w + b] : cols[b * w + j];
  };
  std::vector<double> half(h * w);
  for (size_t i = 0; i < h; ++i) {
    for (size_t b = 0; b < w; ++b) {
      double sum = 0.0;
      for (size_t j = 0; j < w; ++j) sum += static_cast<double>(in[i * w + j]) * col_at(b, j);
      half[i * w + b] = sum;
    }
  }
  for (size_t a = 0; a < h; ++a) {
    for (size_t b = 0; b < w; ++b) {
      double sum = 0.0;
      for (size_t i = 0; i < h; ++i) sum += row_at(a, i) * half[i * w + b];
      out[a * w + b] = static_cast<float>(sum);
    }
  }
}

}  // namespace

int BlockLength(int length, int wanted) {
  ISTHMUS_CHECK(length > 0 && wanted > 0);
  int block = std::min(length, wanted);
  while (length % block != 0) --block;
  return block;
}

BlockTransform::BlockTransform(int rows, int cols)
    : rows_(static_cast<size_t>(rows)),
      cols_(static_cast<size_t>(cols)),
      chunked_(rows == 1 && IsChunkSize(cols)) {
  ISTHMUS_CHECK(rows > 0 && cols > 0);
  if (chunked_) return;
  row_matrix_ = DctMatrix(rows_);
  column_matrix_ = DctMatrix(cols_);
}

void BlockTransform::Forward(std::span<const float> in, std::span<float> out) const {
  if (chunked_) return ForwardDct(static_cast<int>(cols_), in, out);
  ISTHMUS_CHECK(in.size() == out.size() && in.size() % block_size() == 0);
  for (size_t at = 0; at < in.size(); at += block_size()) {
    Separable(in.subspan(at, block_size()), row_matrix_, column_matrix_, rows_, cols_, false,
              out.subspan(at, block_size()));
  }
}

void BlockTransform::Inverse(std::span<const float> in, std::span<float> out) const {
  if (chunked_) return InverseDct(static_cast<int>(cols_), in, out);
  ISTHMUS_CHECK(in.size() == out.size() && in.size() % block_size() == 0);
  for (size_t at = 0; at < in.size(); at += block_size()) {
    Separable(in.subspan(at, block_size()), row_matrix_, column_matrix_, rows_, cols_, true,
              out.subspan(at, block_size()));
  }
}

BlockGrid::BlockGrid(int rows, int cols, int block_rows, int block_cols)
    : rows_(static_cast<size_t>(rows)),
      cols_(static_cast<size_t>(cols)),
      block_rows_(static_cast<size_t>(block_rows)),
      block_cols_(static_cast<size_t>(block_cols)) {
  ISTHMUS_CHECK(rows > 0 && cols > 0 && block_rows > 0 && block_cols > 0);
  ISTHMUS_CHECK(rows % block_rows == 0 && cols % block_cols == 0);
}

template <typename Visit>
void BlockGrid::ForEachRun(Visit visit) const {
  size_t blocks_offset = 0;
  for (size_t top = 0; top < rows_; top += block_rows_) {
    for (size_t left = 0; left < cols_; left += block_cols_) {
      for (size_t row = top; row < top + block_rows_; ++row, blocks_offset += block_cols_) {
        visit(row * cols_ + left, blocks_offset);
      }
    }
  }
}

void BlockGrid::Gather(std::span<const float> tensor, std::span<float> blocks) const {
  ISTHMUS_CHECK(tensor.size() == size() && blocks.size() == size());
  ForEachRun([&](size_t from, size_t to) {
    std::copy_n(tensor.begin() + static_cast<ptrdiff_t>(from), block_cols_,
                blocks.begin() + static_cast<ptrdiff_t>(to));
  });
}

void BlockGrid::Scatter(std::span<const float> blocks, std::span<float> tensor) const {
  ISTHMUS_CHECK(tensor.size() == size() && blocks.size() == size());
  ForEachRun([&](size_t to, size_t from) {
    std::copy_n(blocks.begin() + static_cast<ptrdiff_t>(from), block_cols_,
                tensor.begin() + static_cast<ptrdiff_t>(to));
  });
}

}  // namespace isthmus
