// Row-major matrix products through BLAS, for float (training) and double (gradient checks).
#ifndef ISTHMUS_EXAMPLES_LM_GEMM_H_
#define ISTHMUS_EXAMPLES_LM_GEMM_H_

#include <cblas.h>

namespace isthmus::lm {

// One BLAS thread per rank: ranks share the machine, and results then do not depend on its cores.
inline void UseOneBlasThread() { openblas_set_num_threads(1); }

enum class Transpose { kNo, kYes };

// A matrix in memory, or its transpose: the product sees it transposed where `transpose` says so.
template <typename T>
struct Operand {
  const T* data;
  int stride;  // elements from one row in memory to the next
  Transpose transpose = Transpose::kNo;
};

inline CBLAS_TRANSPOSE ToBlas(Transpose t) {
  return t == Transpose::kYes ? CblasTrans : CblasNoTrans;
}

// c[m, n] = alpha * a[m, k] b[k, n] + beta * c, each after its transposition.
inline void Gemm(int m, int n, int k, float alpha, Operand<float> a, Operand<float> b, float beta,
                 float* c, int c_stride) {
  cblas_sgemm(CblasRowMajor, ToBlas(a.transpose), ToBlas(b.transpose), m, n, k, alpha, a.data,
              a.stride, b.data, b.stride, beta, c, c_stride);
}
inline void Gemm(int m, int n, int k, double alpha, Operand<double> a, Operand<double> b,
                 double beta, double* c, int c_stride) {
  cblas_dgemm(CblasRowMajor, ToBlas(a.transpose), ToBlas(b.transpose), m, n, k, alpha, a.data,
              a.stride, b.data, b.stride, beta, c, c_stride);
}

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_GEMM_H_
