#ifndef ISTHMUS_EXAMPLES_LM_STOPWATCH_H_
#define ISTHMUS_EXAMPLES_LM_STOPWATCH_H_

#include <chrono>

namespace isthmus::lm {

// Seconds since its construction. What it measures is reported, and decides nothing but how long a
// stop may take.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_STOPWATCH_H_
