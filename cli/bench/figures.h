// The figures that Isthmus is held to on this machine, and the measuring of them.
#ifndef ISTHMUS_CLI_BENCH_FIGURES_H_
#define ISTHMUS_CLI_BENCH_FIGURES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace isthmus {

struct Figure {
  std::string name;
  double value = 0;
  std::string unit;  // "x": a ratio to the same bytes' memcpy, or as the name says
  double must = 0;   // the limit; 0: none
  double stretch = 0;
  bool more_is_better = false;

  bool holds() const { return must == 0 || (more_is_better ? value >= must : value <= must); }
};

struct BenchOptions {
  uint64_t parameters = uint64_t{16} << 20;
  int repeats = 9;
};

// Measures everything; `progress` is told what comes next. Takes seconds, and four float vectors of
// `parameters`. Times are ratios of medians taken in turns, so that a busy machine disturbs both
// sides alike.
std::vector<Figure> MeasureFigures(const BenchOptions& options,
                                   const std::function<void(const std::string&)>& progress);

std::string FiguresJson(const std::vector<Figure>& figures);
std::string FiguresTable(const std::vector<Figure>& figures);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BENCH_FIGURES_H_
