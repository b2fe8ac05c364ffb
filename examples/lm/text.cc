#include "examples/lm/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "examples/lm/file.h"
#include "examples/lm/random.h"

namespace isthmus::lm {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// The directory's regular files in order of name, which listing it does not promise.
absl::StatusOr<std::vector<std::string>> RegularFiles(const std::string& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  std::vector<std::string> files;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code unreadable;
    const auto type = entries->symlink_status(unreadable).type();
    if (type == std::filesystem::file_type::regular) files.push_back(entries->path().string());
  }
  if (error) return absl::NotFoundError(absl::StrCat(directory, ": ", error.message()));
  std::sort(files.begin(), files.end());
  return files;
}

absl::Status AppendFile(const std::string& path, bool skip_binary, size_t* total_bytes,
                        Text* text) {
  absl::StatusOr<std::string> contents = ReadFile(path, kMaxTextBytes - *total_bytes);
  if (!contents.ok()) return contents.status();
  if (skip_binary && contents->find('\0') != std::string::npos) return absl::OkStatus();
  *total_bytes += contents->size();
  text->Append(*contents);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Text> Text::Load(absl::Span<const std::string> paths) {
  Text text;
  size_t total_bytes = 0;
  for (const std::string& path : paths) {
    std::error_code error;
    const bool is_directory = std::filesystem::is_directory(path, error);
    std::vector<std::string> files = {path};
    if (is_directory) {
      absl::StatusOr<std::vector<std::string>> listed = RegularFiles(path);
      if (!listed.ok()) return listed.status();
      files = *std::move(listed);
    }
    for (const std::string& file : files) {
      absl::Status status = AppendFile(file, /*skip_binary=*/is_directory, &total_bytes, &text);
      if (!status.ok()) return status;
    }
  }
  if (text.train_.empty() || text.validation_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no text to train on and validate with: read ",
                                                   total_bytes, " bytes from ", paths.size(),
                                                   " paths"));
  }
  return text;
}

void Text::Append(std::string_view file) {
  const size_t split = file.size() / 10 * 9 + file.size() % 10 * 9 / 10;
  train_.append(file.substr(0, split));
  validation_.append(file.substr(split));
}

double Text::UnigramEntropy() const {
  std::array<double, 256> counts;
  counts.fill(1.0);
  for (char byte : train_) ++counts[static_cast<uint8_t>(byte)];
  const double total = static_cast<double>(train_.size()) + counts.size();
  double nats = 0;
  for (char byte : validation_) nats -= std::log(counts[static_cast<uint8_t>(byte)] / total);
  return nats / static_cast<double>(validation_.size());
}

void Batch::Resize(int new_count, int new_length) {
  count = new_count;
  length = new_length;
  inputs.resize(static_cast<size_t>(count) * length);
  targets.resize(inputs.size());
}

void Batch::Set(int index, std::string_view text, size_t start) {
  const size_t at = static_cast<size_t>(index) * length;
  std::copy_n(text.begin() + start, length, inputs.begin() + at);
  std::copy_n(text.begin() + start + 1, length, targets.begin() + at);
}

void FillRandom(std::string_view text, const BatchKey& key, int count, int length, Batch* batch) {
  batch->Resize(count, length);
  const CounterRng rng({key.seed, key.group_index, key.rank, key.round});
  const size_t starts = text.size() - length;  // each leaves room for the last target
  for (int i = 0; i < count; ++i) batch->Set(i, text, rng.Bits(i) % starts);
}

void FillSpaced(std::string_view text, int first, int count, int total, int length, Batch* batch) {
  batch->Resize(count, length);
  const size_t last_start = text.size() - length - 1;
  for (int i = 0; i < count; ++i) {
    batch->Set(i, text, last_start * (first + i) / std::max(total - 1, 1));
  }
}

}  // namespace isthmus::lm
