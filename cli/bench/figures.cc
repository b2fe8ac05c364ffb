#include "cli/bench/figures.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "cli/bench/allocations.h"
#include "cli/bench/dense_workloads.h"
#include "cli/bench/workloads.h"
#include "common/base/clock.h"
#include "common/kernels/simd.h"

namespace isthmus {
namespace {

constexpr PayloadFormat k64_8{Transform::kDct, 64, 8, ValueFormat::kOneBit};
constexpr PayloadFormat k64_4{Transform::kDct, 64, 4, ValueFormat::kOneBit};

double Seconds(const std::function<void()>& body) {
  const absl::Time start = Clock::Real().Now();
  body();
  return absl::ToDoubleSeconds(Clock::Real().Now() - start);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Median seconds of each body, all of them run in turns after one unmeasured round.
std::vector<double> InTurns(int repeats, const std::vector<std::function<void()>>& bodies) {
  std::vector<std::vector<double>> times(bodies.size());
  for (const auto& body : bodies) body();
  for (int i = 0; i < repeats; ++i) {
    for (size_t b = 0; b < bodies.size(); ++b) times[b].push_back(Seconds(bodies[b]));
  }
  std::vector<double> medians;
  for (std::vector<double>& t : times) medians.push_back(Median(std::move(t)));
  return medians;
}

double Log2Binomial(double n, double k) {
  return (std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1)) / std::log(2.0);
}

// Two segments, the second on a thread of its own for each call: no pool is in the way.
void OnTwoThreads(int count, const std::function<void(int)>& body) {
  std::thread second([&] {
    for (int i = 1; i < count; i += 2) body(i);
  });
  for (int i = 0; i < count; i += 2) body(i);
  second.join();
}

class Bench {
 public:
  Bench(const BenchOptions& options, const std::function<void(const std::string&)>& progress)
      : options_(options), progress_(progress) {}

  std::vector<Figure> Run() {
    Times();
    Dense();
    TwoThreads();
    Merging();
    Sizes();
    return std::move(figures_);
  }

 private:
  Workloads::Options Of(const PayloadFormat& format, int groups) const {
    return {.parameters = options_.parameters, .format = format, .groups = groups};
  }

  void Times() {
    progress_("one thread: momentum, compress, apply, hash");
    const uint64_t before = CountAllocations().bytes;
    Workloads work(Of(k64_8, 2));
    const std::vector<double> t =
        InTurns(options_.repeats, {[&] { work.Memcpy(); }, [&] { work.MomentumUpdate(); },
                                   [&] { work.Compress(); }, [&] { work.ApplyContributions(); },
                                   [&] { work.ApplySigns(); }, [&] { work.Hash(); }});
    const double n = static_cast<double>(work.parameters());
    figures_.push_back({"memcpy_nanoseconds_per_parameter", t[0] / n * 1e9, "ns"});
    figures_.push_back({"momentum_update_vs_memcpy", t[1] / t[0], "x"});
    figures_.push_back({"compress_64_8_1bit_vs_memcpy", t[2] / t[0], "x", 6, 3.5});
    figures_.push_back({"compress_64_8_1bit_vs_momentum_update", t[2] / t[1], "x"});
    figures_.push_back({"apply_2_groups_vs_memcpy", t[3] / t[0], "x", 4, 2});
    figures_.push_back({"apply_signs_vs_memcpy", t[4] / t[0], "x", 4, 2});
    figures_.push_back({"hash_vs_memcpy", t[5] / t[0], "x"});

    // What a step needs besides gradient, momentum and parameters: three vectors of four bytes. The
    // other group's payloads and the signs are the other side's.
    const double held = static_cast<double>(CountAllocations().bytes - before);
    const double others = static_cast<double>(2 * work.payload_bytes() + work.signs_bytes());
    figures_.push_back({"extra_bytes_per_parameter", (held - others) / n - 12, "B", 2, 0.5});
    work.Merge();  // as the others have been
    const uint64_t count = CountAllocations().count;
    work.Compress();
    work.Merge();
    work.ApplyContributions();
    const double calls = static_cast<double>(CountAllocations().count - count);
    figures_.push_back({"allocations_per_step", calls, "calls", 0.5});  // that is, none
    const double bytes = static_cast<double>(work.payload_bytes());
    const double chunks = n / 64;
    const double bound = chunks * (Log2Binomial(64, 8) + 8 + 8) / 8;
    figures_.push_back({"payload_bytes_vs_bound_64_8_1bit", bytes / bound, "x", 1.03, 1.02});
    figures_.push_back({"bytes_per_component_64_8_1bit",
                        bytes / static_cast<double>(work.components()), "B", 0.80, 0.77});
  }

  // Local steps that send all elements in two bits.
  void Dense() {
    progress_("local steps: progress, upload, apply");
    DenseWorkloads work({.parameters = options_.parameters});
    const std::vector<double> t = InTurns(
        options_.repeats, {[&] { work.Memcpy(); }, [&] { work.Progress(); }, [&] { work.Upload(); },
                           [&] { work.ApplyForwarded(); }, [&] { work.ApplyRequantized(); }});
    figures_.push_back({"progress_vs_memcpy", t[1] / t[0], "x"});
    figures_.push_back({"upload_dense_2bit_vs_memcpy", t[2] / t[0], "x", 3});
    figures_.push_back({"apply_dense_2bit_2_groups_vs_memcpy", t[3] / t[0], "x", 3});
    figures_.push_back({"apply_dense_2bit_requantized_vs_memcpy", t[4] / t[0], "x", 3});
    const uint64_t count = CountAllocations().count;
    work.Upload();
    work.ApplyForwarded();
    work.ApplyRequantized();
    const double calls = static_cast<double>(CountAllocations().count - count);
    figures_.push_back({"allocations_per_dense_step", calls, "calls", 0.5});
    const double n = static_cast<double>(work.parameters());
    figures_.push_back({"payload_bytes_per_parameter_dense_2bit",
                        static_cast<double>(work.payload_bytes()) / n, "B", 0.27});
    figures_.push_back({"requantized_bytes_per_parameter_dense_2bit",
                        static_cast<double>(work.requantized_bytes()) / n, "B", 0.52});
  }

  void TwoThreads() {
    progress_("two threads");
    Workloads one(Of(k64_8, 1));
    Workloads::Options options = Of(k64_8, 1);
    options.threads = 2;
    options.parallel = OnTwoThreads;
    Workloads two(options);
    const std::vector<double> t =
        InTurns(options_.repeats, {[&] { one.Compress(); }, [&] { two.Compress(); }});
    figures_.push_back({"compress_2_threads_vs_1", t[1] / t[0], "x", 1, 0.6});
  }

  void Merging() {
    progress_("merging 8 groups");
    Workloads work(Of(k64_8, 8));
    const double seconds = InTurns(options_.repeats, {[&] { work.Merge(); }})[0];
    figures_.push_back({"merge_8_groups_components_per_second",
                        8 * static_cast<double>(work.components()) / seconds, "1/s", 150e6, 400e6,
                        true});
  }

  void Sizes() {
    progress_("sizes");
    const double n = static_cast<double>(options_.parameters);
    Workloads work(Of(k64_4, 4));
    figures_.push_back({"download_bytes_per_parameter_64_4_1bit_2_groups",
                        static_cast<double>(work.payload_bytes()) / n, "B", 0.065, 0.0625});
    figures_.push_back({"download_bytes_per_parameter_64_4_1bit_any_groups",
                        static_cast<double>(work.signs_bytes()) / n, "B", 0.13, 0.125});
    constexpr uint64_t kBucket = uint64_t{1} << 20;
    const PayloadFormat random{Transform::kNone, 64, 8, ValueFormat::kSign, Positions::kRandom};
    figures_.push_back({"bytes_per_parameter_random_8_sign",
                        static_cast<double>(PayloadBytes(random, kBucket / 64)) / kBucket, "B",
                        0.016, 0.0157});
  }

  const BenchOptions options_;
  const std::function<void(const std::string&)>& progress_;
  std::vector<Figure> figures_;
};

}  // namespace

std::vector<Figure> MeasureFigures(const BenchOptions& options,
                                   const std::function<void(const std::string&)>& progress) {
  return Bench(options, progress).Run();
}

std::string FiguresJson(const std::vector<Figure>& figures) {
  const auto limit = [](double value) {
    return value == 0 ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(value);
  };
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Figure& f : figures) {
    list.push_back({{"name", f.name},
                    {"value", f.value},
                    {"unit", f.unit},
                    {"must", limit(f.must)},
                    {"stretch", limit(f.stretch)}});
  }
  return list.dump(1) + "\n";
}

std::string FiguresTable(const std::vector<Figure>& figures) {
  const auto number = [](double value) {
    return value == 0 ? std::string("-") : absl::StrFormat("%.4g", value);
  };
  std::string table =
      absl::StrFormat("kernels: %s\n%-50s %11s %-5s %9s %9s\n", ActiveKernels().name, "figure",
                      "value", "", "must", "stretch");
  for (const Figure& f : figures) {
    absl::StrAppendFormat(&table, "%-50s %11s %-5s %9s %9s  %s\n", f.name,
                          absl::StrFormat("%.4g", f.value), f.unit, number(f.must),
                          number(f.stretch), f.holds() ? "" : "missed");
  }
  return table;
}

}  // namespace isthmus
