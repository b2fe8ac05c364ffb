// All recorded cases of a directory.
#ifndef ISTHMUS_TESTS_GOLDEN_GOLDEN_DIRECTORY_H_
#define ISTHMUS_TESTS_GOLDEN_GOLDEN_DIRECTORY_H_

#include <filesystem>
#include <iosfwd>

namespace isthmus {

struct GoldenCounts {
  int passed = 0;
  int failed = 0;
  int skipped = 0;
};

// Replays every NAME.json in `directory`, in order of name. Writes a line for each case that fails,
// with its first difference, and for each that is skipped. A file that cannot be read fails.
GoldenCounts CheckGoldenDirectory(const std::filesystem::path& directory, std::ostream& out);

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_GOLDEN_GOLDEN_DIRECTORY_H_
