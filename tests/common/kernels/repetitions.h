// How often tests draw random inputs of one kind.
#ifndef ISTHMUS_TESTS_COMMON_KERNELS_REPETITIONS_H_
#define ISTHMUS_TESTS_COMMON_KERNELS_REPETITIONS_H_

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ISTHMUS_UNDER_TSAN 1
#elif __has_feature(address_sanitizer)
#define ISTHMUS_UNDER_ASAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define ISTHMUS_UNDER_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define ISTHMUS_UNDER_ASAN 1
#endif

namespace isthmus {

// `full`, but a part of it under sanitizers: what has no threads has nothing that ThreadSanitizer
// could find, and what memory is touched hardly depends on the numbers. Cases (sizes, counts,
// formats) are for loops of their own, and are all there in every build.
constexpr int Repetitions(int full) {
#if defined(ISTHMUS_UNDER_TSAN)
  return (full + 15) / 16;
#elif defined(ISTHMUS_UNDER_ASAN)
  return (full + 3) / 4;
#else
  return full;
#endif
}

// Whether it is the turn of the i-th combination of cases that are all there by themselves: of
// every one, or under sanitizers of every seventh. In nested loops none of which is a multiple of
// seven long, that leaves each pair of cases.
constexpr bool IsTurn(int i) { return Repetitions(16) == 16 || i % 7 == 0; }

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_KERNELS_REPETITIONS_H_
