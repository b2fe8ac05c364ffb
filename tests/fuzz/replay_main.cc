// Runs a fuzz target over files, without libFuzzer, so that corpora are tested in every build.
//
//   fuzz_corpus_NAME_test DIRECTORY|FILE...
//
// Of each file in a directory also its neighbours: every prefix, and every byte changed. A file
// called valid_* must have something in it that the target accepts.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_input.h"

namespace {

void Run(const std::string& bytes) {
  // A copy of its own, so that AddressSanitizer sees every byte read beyond the end.
  const std::vector<uint8_t> copy(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

std::string Read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// False for a valid_* of which nothing is accepted.
bool Replay(const std::filesystem::path& path) {
  std::printf("%s\n", path.c_str());
  std::fflush(stdout);
  const uint64_t before = isthmus::fuzz::Accepted();
  Run(Read(path));
  if (!path.filename().string().starts_with("valid_")) return true;
  if (isthmus::fuzz::Accepted() > before) return true;
  std::printf("  nothing in it is accepted: run fuzz_seeds again (tests/fuzz/README.md)\n");
  return false;
}

uint64_t ReplayNeighbours(const std::filesystem::path& path) {
  const std::string bytes = Read(path);
  for (size_t size = 0; size < bytes.size(); ++size) Run(bytes.substr(0, size));
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      Run(changed);
    }
  }
  return 4 * bytes.size();
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 0;
  bool good = true;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      good &= Replay(argv[i]);
      ++runs;
      continue;
    }
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      good &= Replay(file);
      runs += 1 + ReplayNeighbours(file);
    }
  }
  std::printf("%llu inputs\n", static_cast<unsigned long long>(runs));
  return good && runs > 0 ? 0 : 1;
}
