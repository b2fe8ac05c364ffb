// doomed_rank SOCKET GROUP RANK ROUND PHASE: attaches as one rank and trains like harness.cc's
// ranks until it comes to ROUND; then it says "here" and waits to be killed. PHASE says where:
// "before" it hands over its gradients, or "after".
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/e2e/harness.h"

int main(int argc, char** argv) {
  using namespace isthmus;
  if (argc != 6) return 2;
  const auto number = [&](int i) { return static_cast<uint32_t>(std::atoi(argv[i])); };
  const uint32_t group = number(2), rank = number(3), last = number(4);
  const bool after = std::string(argv[5]) == "after";
  const e2e::Model model;
  const auto tensors = model.Tensors(group);
  auto session = client::Session::Attach({.socket_path = argv[1],
                                          .local_rank = static_cast<int32_t>(rank),
                                          .local_world_size = 0,
                                          .timeout_seconds = 30},
                                         tensors);
  if (!session.ok()) {
    std::fprintf(stderr, "%s\n", session.status().ToString().c_str());
    return 1;
  }
  const e2e::JobOptions options;
  const client::StepArgs args{.lr = options.lr,
                              .weight_decay = options.weight_decay,
                              .samples = 1,
                              .loss = static_cast<float>(group)};
  for (uint64_t round = session->Info().round + 1;; ++round) {
    for (size_t t : {0, 2}) {
      e2e::FillGradient(group, rank, round, session->Parameter(t), session->Gradient(t));
    }
    if (round == last) {
      if (after && !session->StepBegin(args).ok()) return 1;
      std::printf("here\n");
      std::fflush(stdout);
      while (true) ::pause();
    }
    if (!session->Step(args).ok()) return 1;
  }
}
