// Formulas that several instruction sets, and GPUs, compute alike: header-only, free of the
// standard library, and never emitted out of line on a CPU, so that no function compiled for one
// instruction set is linked into code for another.
#ifndef ISTHMUS_COMMON_KERNELS_FORMULA_H_
#define ISTHMUS_COMMON_KERNELS_FORMULA_H_

#if defined(__CUDACC__)
#define ISTHMUS_FORMULA __host__ __device__ static inline
// Of a class template with a parameter that is different in every file: may stay a function.
#define ISTHMUS_TEMPLATE_FORMULA __host__ __device__
// The same, large and called rarely.
#define ISTHMUS_TEMPLATE_CALL __host__ __device__ __noinline__
#else
#define ISTHMUS_FORMULA __attribute__((always_inline)) static inline
#define ISTHMUS_TEMPLATE_FORMULA
#define ISTHMUS_TEMPLATE_CALL
#endif

#endif  // ISTHMUS_COMMON_KERNELS_FORMULA_H_
