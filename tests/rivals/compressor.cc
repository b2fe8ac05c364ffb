#include "tests/rivals/compressor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace isthmus::rivals {
namespace {

constexpr double kRangeInDeviations = 6;

class RowBins : public Compressor {
 public:
  explicit RowBins(int bits) : bits_(bits) {}

  void Compress(const lm::TensorSpec& tensor, float* values) const override {
    const int64_t rows = tensor.shape.size() < 2 ? 1 : tensor.shape[0];
    const int64_t columns = tensor.size() / rows;
    for (int64_t row = 0; row < rows; ++row) {
      QuantizeInBins(bits_, {values + row * columns, static_cast<size_t>(columns)});
    }
  }

  double bytes(const lm::TensorSpec& tensor) const override {
    return static_cast<double>(tensor.size()) * bits_ / 8;
  }

 private:
  const int bits_;
};

// Offsets of a tensor's elements, block by block; blocks at the edges may be smaller.
std::vector<std::vector<int64_t>> Blocks(const lm::TensorSpec& tensor, int64_t side) {
  // A vector is a matrix of one row, in blocks of one row.
  const bool matrix = tensor.shape.size() >= 2;
  const int64_t rows = matrix ? tensor.shape[0] : 1;
  const int64_t columns = tensor.size() / rows;
  const int64_t width = matrix ? side : side * side;
  std::vector<std::vector<int64_t>> blocks;
  for (int64_t top = 0; top < rows; top += side) {
    for (int64_t left = 0; left < columns; left += width) {
      std::vector<int64_t>& block = blocks.emplace_back();
      for (int64_t row = top; row < std::min(top + side, rows); ++row) {
        for (int64_t column = left; column < std::min(left + width, columns); ++column) {
          block.push_back(row * columns + column);
        }
      }
    }
  }
  return blocks;
}

class SparseBlocks : public Compressor {
 public:
  explicit SparseBlocks(const SparseOptions& options) : options_(options) {}

  void Compress(const lm::TensorSpec& tensor, float* values) const override {
    std::vector<int64_t> places;
    for (std::vector<int64_t>& block : Blocks(tensor, options_.side)) {
      const auto end = block.begin() + static_cast<std::ptrdiff_t>(Kept(block));
      std::partial_sort(block.begin(), end, block.end(), [values](int64_t a, int64_t b) {
        const float size_a = std::abs(values[a]), size_b = std::abs(values[b]);
        return size_a > size_b || (size_a == size_b && a < b);
      });
      places.insert(places.end(), block.begin(), end);
    }
    std::vector<float> kept;
    for (const int64_t place : places) kept.push_back(values[place]);
    QuantizeInBins(options_.bits, kept);
    std::fill_n(values, tensor.size(), 0.0f);
    for (size_t i = 0; i < places.size(); ++i) values[places[i]] = kept[i];
  }

  double bytes(const lm::TensorSpec& tensor) const override {
    const auto elements = static_cast<unsigned>(options_.side * options_.side);
    const int bits = options_.bits + std::bit_width(elements - 1);
    double bytes = 0;
    for (const std::vector<int64_t>& block : Blocks(tensor, options_.side)) {
      bytes += static_cast<double>(Kept(block)) * bits / 8;
    }
    return bytes;
  }

 private:
  size_t Kept(const std::vector<int64_t>& block) const {
    return std::min(static_cast<size_t>(options_.k), block.size());
  }

  const SparseOptions options_;
};

}  // namespace

std::unique_ptr<Compressor> MakeRowBins(int bits) { return std::make_unique<RowBins>(bits); }

std::unique_ptr<Compressor> MakeSparseBlocks(const SparseOptions& options) {
  return std::make_unique<SparseBlocks>(options);
}

void QuantizeInBins(int bits, std::span<float> values) {
  if (values.size() < 2) return;
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const float value : values) sum += value;
  const double mean = sum / count;
  for (const float value : values) squares += (value - mean) * (value - mean);
  const int bins = 1 << bits;
  const double width = kRangeInDeviations * std::sqrt(squares / (count - 1)) / bins;
  if (width == 0) return;  // all alike

  const auto bin_of = [&](float value) {
    const double bin = std::nearbyint((value - mean) / width) + bins / 2;
    return static_cast<size_t>(std::clamp(bin, 0.0, bins - 1.0));
  };
  std::vector<double> sums(static_cast<size_t>(bins)), counts(sums.size());
  for (const float value : values) {
    sums[bin_of(value)] += value;
    ++counts[bin_of(value)];
  }
  for (float& value : values) {
    const size_t bin = bin_of(value);
    value = static_cast<float>(sums[bin] / counts[bin]);
  }
}

}  // namespace isthmus::rivals
