// How close compress and apply come to the memory's own speed, and what else an exchange of local
// steps takes: each against a copy of the same number of bytes, on the same GPU in the same run.
// Prints one table, and JSON with --json.
//
//   cuda_kernel_bench [--json] [--parameters MI]      (default 256 Mi, which takes 4 GiB)
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/device/cuda_device.h"
#include "common/device/cuda_stream.h"
#include "common/gpu/cuda_gpu_kernels.h"
#include "common/gpu/lane_tiles.h"
#include "common/gpu/record_tables.h"

namespace isthmus {
namespace {

constexpr char kHelp[] =
    "How close compress and apply come to the memory's own speed, and the rest of an exchange of\n"
    "local steps: the bytes that each cannot do without, per second, against a plain copy on the\n"
    "same GPU in the same run.\n\n"
    "  cuda_kernel_bench [--json] [--parameters MI]\n\n"
    "  --parameters MI  Mi of parameters; default 256, which takes 4 GiB of the GPU\n"
    "  --json           also prints an array of {name, seconds, bytes_per_second, of_copy}\n\n"
    "Exit codes: 0; 1 an error of the GPU; 2 wrong flags; 77 there is no GPU.\n";
constexpr int kSkip = 77;
constexpr int kRuns = 15;

template <typename T>
T Must(absl::StatusOr<T> made) {
  if (!made.ok()) {
    std::fprintf(stderr, "cuda_kernel_bench: %s\n", std::string(made.status().message()).c_str());
    std::exit(1);
  }
  return *std::move(made);
}
void Must(const absl::Status& status) {
  if (!status.ok()) Must(absl::StatusOr<int>(status));
}

class Bench {
 public:
  explicit Bench(uint64_t parameters)
      : parameters_(parameters),
        device_(Must(OpenCudaDevice(0))),
        stream_(Must(device_->MakeStream())),
        kernels_(MakeCudaGpuKernels()),
        gradient_(Must(device_->Allocate(parameters * sizeof(float)))),
        momentum_(Must(device_->Allocate(parameters * sizeof(float)))),
        masters_(Must(device_->Allocate(parameters * sizeof(float)))) {
    // Random numbers, the same every 4 Mi.
    constexpr uint64_t kSome = 4 << 20;
    Rng rng(1);
    std::vector<float> some(std::min(kSome, parameters));
    for (float& x : some) x = static_cast<float>(rng.Uniform() + rng.Uniform() - 1.0);
    for (uint64_t at = 0; at < parameters; at += some.size()) {
      const size_t bytes = std::min<uint64_t>(some.size(), parameters - at) * sizeof(float);
      stream_->CopyIn(gradient_.as<float>() + at, some.data(), bytes);
    }
    stream_->Zero(momentum_.data(), momentum_.size_bytes());
    stream_->Zero(masters_.data(), masters_.size_bytes());
    Must(stream_->Synchronize());
  }

  void Run() {
    std::printf("%s, %llu Mi parameters, median of %d\n", device_->name().c_str(),
                static_cast<unsigned long long>(parameters_ >> 20), kRuns);
    const double copy =
        Median([&] { stream_->Copy(masters_.data(), gradient_.data(), masters_.size_bytes()); });
    copy_bytes_per_second_ = 2.0 * static_cast<double>(masters_.size_bytes()) / copy;
    Say("copy", copy, 8.0, "8 bytes per parameter");
    for (uint32_t chunk_size : {32u, 64u, 128u, 256u, 1024u, 4096u}) {
      Compress(DctOneBit(chunk_size, chunk_size / 8), true);
    }
    Compress(DctOneBit(64, 4), true);
    Compress(DctOneBit(64, 8), false);
    for (uint32_t chunk_size : {32u, 64u, 128u, 256u, 1024u}) {
      for (uint32_t groups : {2u, 8u}) Apply(DctOneBit(chunk_size, chunk_size / 8), groups);
    }
    ApplySigns(DctOneBit(64, 8));
    for (ValueFormat values : {ValueFormat::kOneBit, ValueFormat::kTwoBit, ValueFormat::kInt4}) {
      Compress(Blocks(values), true);
      for (uint32_t groups : {1u, 2u, 8u}) Apply(Blocks(values), groups);  // 1: quantized again
    }
    for (bool halves : {false, true}) {
      Progress(halves);
      AddWay(halves);
    }
  }

  void PrintJson() const {
    std::printf("[\n");
    for (size_t i = 0; i < lines_.size(); ++i) {
      std::printf("  %s%s\n", lines_[i].c_str(), i + 1 < lines_.size() ? "," : "");
    }
    std::printf("]\n");
  }

 private:
  static PayloadFormat DctOneBit(uint32_t chunk_size, uint32_t k) {
    return {Transform::kDct, chunk_size, k, ValueFormat::kOneBit, Positions::kChosen, 0};
  }

  // Of local steps that send all elements, with a scale for each 64.
  static PayloadFormat Blocks(ValueFormat values) {
    PayloadFormat format{Transform::kNone, kScaleBlock, kScaleBlock, values};
    format.block_scales = true;
    return format;
  }

  // Seconds of what `work` queues.
  double Median(const std::function<void()>& work) {
    const cudaStream_t stream = static_cast<CudaStream&>(*stream_).stream();
    cudaEvent_t begin, end;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    std::vector<float> times;
    for (int i = 0; i < kRuns + 2; ++i) {
      cudaEventRecord(begin, stream);
      work();
      cudaEventRecord(end, stream);
      Must(stream_->Synchronize());
      float milliseconds = 0;
      cudaEventElapsedTime(&milliseconds, begin, end);
      if (i >= 2) times.push_back(milliseconds / 1e3f);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    return times[kRuns / 2];
  }

  // `bytes_per_parameter` is the least that must cross the memory's bus.
  void Say(const std::string& what, double seconds, double bytes_per_parameter, const char* note) {
    const double bytes = bytes_per_parameter * static_cast<double>(parameters_);
    const double share = bytes / seconds / copy_bytes_per_second_;
    std::printf("%-28s %8.3f ms  %7.1f GB/s  %5.1f %% of copy  (%s)\n", what.c_str(), 1e3 * seconds,
                bytes / seconds / 1e9, 100 * share, note);
    char line[256];
    std::snprintf(line, sizeof(line),
                  R"({"name": "%s", "seconds": %.9f, "bytes_per_second": %.0f, "of_copy": %.4f})",
                  what.c_str(), seconds, bytes / seconds, share);
    lines_.push_back(line);
  }

  static std::string NameOf(const PayloadFormat& format) {
    const std::string bits = std::to_string(ValueBits(format.values)) + "bit";
    if (format.block_scales) return "blocks " + bits;
    return std::to_string(format.chunk_size) + "/" + std::to_string(format.k) + " " + bits;
  }

  struct Tables {
    DeviceMemory memory;
    RecordFormat format;
  };
  Tables MakeTables(const PayloadFormat& format) {
    const RecordTables tables(format);
    Tables made;
    made.memory = Must(device_->Allocate(tables.size_bytes() + 16));
    const std::vector<std::byte> bytes = tables.BytesAt(made.memory.data());
    stream_->CopyIn(made.memory.data(), bytes.data(), bytes.size());
    Must(stream_->Synchronize());
    made.format = tables.FormatAt(made.memory.data());
    return made;
  }

  struct Records {
    DeviceMemory records, presence;
  };
  Records MakeRecords(const RecordFormat& format, uint64_t chunks) {
    return {Must(device_->Allocate(RecordWords(format, chunks) * sizeof(uint32_t))),
            Must(device_->Allocate(PresenceWords(chunks) * sizeof(uint32_t)))};
  }

  void Extract(const RecordFormat& format, const Records& records, bool extract) {
    ExtractParams params;
    params.format = format;
    params.chunks = parameters_ / format.payload.chunk_size;
    params.gradient = gradient_.as<float>();
    params.momentum = momentum_.as<float>();
    params.decay = 0.999f;
    params.extract = extract;
    if (extract) {
      stream_->Zero(records.records.data(), records.records.size_bytes());
      stream_->Zero(records.presence.data(), records.presence.size_bytes());
      params.records = records.records.as<uint32_t>();
      params.presence = records.presence.as<uint32_t>();
    }
    kernels_->Extract(*stream_, params);
  }

  void Compress(const PayloadFormat& payload, bool extract) {
    const Tables tables = MakeTables(payload);
    const Records records = MakeRecords(tables.format, parameters_ / payload.chunk_size);
    const double seconds = Median([&] { Extract(tables.format, records, extract); });
    Say((extract ? "compress " : "accumulate ") + NameOf(payload), seconds, 12.0,
        "floor 12 bytes: gradient, momentum twice");
  }

  void Apply(const PayloadFormat& payload, uint32_t groups) {
    const Tables tables = MakeTables(payload);
    const uint64_t chunks = parameters_ / payload.chunk_size;
    std::vector<Records> records;
    std::vector<PartRecords> parts;
    for (uint32_t i = 0; i < groups; ++i) {
      records.push_back(MakeRecords(tables.format, chunks));
      Extract(tables.format, records.back(), true);
      parts.push_back({.chunks = chunks,
                       .records = records.back().records.as<uint32_t>(),
                       .presence = {records.back().presence.as<uint32_t>(), nullptr},
                       .values = payload.values});
    }
    const DeviceMemory device_parts = Upload(parts);
    std::vector<ContributionRecords> contributions;
    for (uint32_t i = 0; i < groups; ++i) {
      contributions.push_back({.part_count = 1, .parts = device_parts.as<PartRecords>() + i});
    }
    const DeviceMemory device_contributions = Upload(contributions);
    ApplyParams params;
    params.format = tables.format;
    params.contributions = device_contributions.as<ContributionRecords>();
    params.contribution_count = groups;
    params.block_scales = payload.block_scales;
    if (payload.block_scales) params.merge = MergeRule::kMean;
    const double record_bytes = tables.format.record_bits / 8.0 / payload.chunk_size;
    Step("apply " + NameOf(payload) + " x" + std::to_string(groups), params,
         8.0 + groups * record_bytes, "floor: masters twice, records");
  }

  // An update of more groups than a contribution each would pay for: a sign per parameter.
  void ApplySigns(const PayloadFormat& payload) {
    const Tables tables = MakeTables(payload);
    const DeviceMemory body = Must(device_->Allocate(parameters_ / 8 + 16));
    stream_->Copy(body.data(), gradient_.data(), parameters_ / 8);
    ApplyParams params;
    params.format = tables.format;
    params.encoding = UpdateEncoding::kSigns;
    params.body = body.as<uint32_t>();
    Step("apply signs", params, 8.0 + 1.0 / 8, "floor: masters twice, a bit");
  }

  // What a job holds where `memory` is.
  static HeldNumbers Held(const DeviceMemory& memory, bool halves) {
    return {memory.data(), halves};
  }
  void Progress(bool halves) {
    const DeviceMemory unusable = Upload(std::vector<uint32_t>(1));
    const double seconds = Median([&] {
      kernels_->TakeProgress(*stream_, {.given = masters_.as<float>(),
                                        .now = Held(gradient_, halves),
                                        .fours = parameters_ / 4,
                                        .weight = 1.0f,
                                        .progress = momentum_.as<float>(),
                                        .most = 1e30f,
                                        .unusable = unusable.as<uint32_t>()});
    });
    Say(halves ? "progress bfloat16" : "progress float32", seconds, halves ? 10.0 : 12.0,
        "floor: given, now, progress");
  }
  void AddWay(bool halves) {
    const double seconds = Median([&] {
      kernels_->AddWay(*stream_, {.anchor = masters_.as<float>(),
                                  .then = Held(gradient_, halves),
                                  .now = Held(momentum_, halves),
                                  .fours = parameters_ / 4});
    });
    Say(halves ? "way bfloat16" : "way float32", seconds, halves ? 10.0 : 16.0,
        "floor: anchor, then, now twice");
  }

  // Times what `params` says of an update, stepping the masters by SGD.
  void Step(const std::string& what, ApplyParams params, double bytes_per_parameter,
            const char* note) {
    const DeviceMemory scalars = Upload(std::vector<OptimizerScalars>{{.lr = 1e-3f}});
    const DeviceMemory of = Upload(std::vector<uint8_t>(parameters_ / 64));
    params.chunks = parameters_ / params.format.payload.chunk_size;
    params.scalars = scalars.as<OptimizerScalars>();
    params.groups = of.as<uint8_t>();
    params.parameters = masters_.as<float>();
    Say(what, Median([&] { kernels_->Apply(*stream_, params); }), bytes_per_parameter, note);
  }

  template <typename T>
  DeviceMemory Upload(const std::vector<T>& from) {
    DeviceMemory memory = Must(device_->Allocate(from.size() * sizeof(T)));
    stream_->CopyIn(memory.data(), from.data(), from.size() * sizeof(T));
    Must(stream_->Synchronize());
    return memory;
  }

  const uint64_t parameters_;
  const std::unique_ptr<Device> device_;
  const std::unique_ptr<DeviceStream> stream_;
  const std::unique_ptr<GpuKernels> kernels_;
  const DeviceMemory gradient_, momentum_, masters_;
  double copy_bytes_per_second_ = 1;
  std::vector<std::string> lines_;
};

int Main(int argc, char** argv) {
  uint64_t mebi = 256;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::printf("%s", kHelp);
      return 0;
    } else if (std::strcmp(argv[i], "--json") == 0) {
      json = true;
    } else if (std::strcmp(argv[i], "--parameters") == 0 && i + 1 < argc) {
      mebi = std::strtoull(argv[++i], nullptr, 10);
    } else {
      mebi = 0;
    }
  }
  if (mebi == 0) {
    std::fprintf(stderr, "usage: cuda_kernel_bench [--json] [--parameters MI]\n");
    return 2;
  }
  if (const auto count = CountCudaDevices(); !count.ok()) {
    std::printf("SKIPPED: %s\n", std::string(count.status().message()).c_str());
    return kSkip;
  }
  Bench bench(mebi << 20);
  bench.Run();
  if (json) bench.PrintJson();
  return 0;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) { return isthmus::Main(argc, argv); }
