// A job that computes next to nothing: what its steps take is the exchange.
//
//   link_job SOCKET SEED START PARAMETERS
//
// Prints one JSON object when it has attached and another when the run is over; exit 0. Gradients go
// by SEED, PARAMETERS of them begin by START.
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "client/isthmus.hpp"
#include "common/base/rng.h"

namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int Fail(const isthmus::client::Status& status) {
  std::printf("{\"error\": \"%s\"}\n", status.ToString().c_str());
  return 1;
}

uint64_t HashOf(std::span<const float> values) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a over the bytes
  for (const std::byte b : std::as_bytes(values)) {
    hash = (hash ^ static_cast<uint64_t>(b)) * 1099511628211u;
  }
  return hash;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  isthmus::Rng rng(std::strtoull(argv[2], nullptr, 10)), start(std::strtoull(argv[3], nullptr, 10));
  std::vector<float> initial(std::strtoull(argv[4], nullptr, 10));
  for (float& value : initial) value = static_cast<float>(start.Uniform() - 0.5);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);

  const double begin = Seconds();
  auto session =
      isthmus::client::Session::Attach({.socket_path = argv[1], .local_rank = 0},
                                       std::vector{isthmus::client::Tensor::Trained(
                                           "w", {static_cast<int64_t>(initial.size())}, initial)});
  if (!session.ok()) return Fail(session.status());
  std::printf("{\"attach_seconds\": %.3f}\n", Seconds() - begin);

  const std::span<float> gradients = session->Gradient(0);
  std::vector<double> steps;
  const std::vector<float> lr = {0.001f};
  while (true) {
    // New values at every 64th place: enough for the largest coefficients of each chunk.
    for (size_t i = rng.Below(64); i < gradients.size(); i += 64) {
      gradients[i] = static_cast<float>(rng.Uniform() - 0.5);
    }
    const double step_begin = Seconds();
    const auto done = session->Step({.lr = lr});
    if (done.status().end()) break;
    if (!done.ok()) return Fail(done.status());
    steps.push_back(Seconds() - step_begin);
  }
  std::printf("{\"hash\": \"%016" PRIx64 "\", \"step_seconds\": [", HashOf(session->Parameter(0)));
  for (size_t i = 0; i < steps.size(); ++i) std::printf("%s%.4f", i == 0 ? "" : ", ", steps[i]);
  std::printf("]}\n");
  return 0;
}
