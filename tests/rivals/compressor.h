// How a site's progress is made small before it is sent: dense in few bits, as MuLoCo does, or the
// largest of each block, as SparseLoCo does.
#ifndef ISTHMUS_TESTS_RIVALS_COMPRESSOR_H_
#define ISTHMUS_TESTS_RIVALS_COMPRESSOR_H_

#include <memory>
#include <span>

#include "examples/lm/tensors.h"

namespace isthmus::rivals {

// Without state: what it leaves out is for the caller to keep (diloco.h). Thread-safe.
class Compressor {
 public:
  virtual ~Compressor() = default;
  // `values`, as many as `tensor` has, row-major, become what their receivers read.
  virtual void Compress(const lm::TensorSpec& tensor, float* values) const = 0;
  // Of a tensor's payload: values and places. Tables of means, shapes and headers, which grow less
  // than a model does, are not counted.
  virtual double bytes(const lm::TensorSpec& tensor) const = 0;
};

// All values in `bits` bits, quantized by rows; a vector is one row.
//
// Source: MuLoCo (arXiv:2505.23725v3), "row-wise statistical" quantization.
std::unique_ptr<Compressor> MakeRowBins(int bits);

struct SparseOptions {
  int side = 64;  // blocks of matrices are [side, side], those of vectors have as many elements
  int k = 64;     // kept of a block
  int bits = 2;   // of a value, quantized over what is kept of its tensor
};

// The k values of largest magnitude of each block; of equal ones the first. A place takes as many
// bits as side^2 has: 12 by default.
//
// Source: SparseLoCo (arXiv:2508.15706), algorithm 1: 64 of 4096, 2 bits, no transform.
std::unique_ptr<Compressor> MakeSparseBlocks(const SparseOptions& options = {});

// Each value becomes the mean of those in its bin: of 2^bits equal bins that together are six
// standard deviations (of the sample) wide. Bin b is centred b - 2^bits / 2 widths from the mean;
// what is further out belongs to the first or last.
//
// Source: both papers' code, after hivemind's uniform quantization.
void QuantizeInBins(int bits, std::span<float> values);

}  // namespace isthmus::rivals

#endif  // ISTHMUS_TESTS_RIVALS_COMPRESSOR_H_
