// Where libnccl.so.2 may be.
#ifndef ISTHMUS_COMMON_COLLECTIVES_NCCL_PLACES_H_
#define ISTHMUS_COMMON_COLLECTIVES_NCCL_PLACES_H_

#include <filesystem>
#include <string>
#include <vector>

namespace isthmus {

// What to give dlopen(), in this order: where the system looks, then the packages of the Python
// environment in whose bin/ `program` lies, since PyTorch brings an NCCL of its own there and
// nothing else may. Blocking: reads directories.
std::vector<std::string> NcclPlaces(const std::filesystem::path& program);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_NCCL_PLACES_H_
