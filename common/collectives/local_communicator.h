// Collectives between N threads of one process, through shared memory. The CPU's communicator, and
// the specification that others are tested against.
#ifndef ISTHMUS_COMMON_COLLECTIVES_LOCAL_COMMUNICATOR_H_
#define ISTHMUS_COMMON_COLLECTIVES_LOCAL_COMMUNICATOR_H_

#include <memory>
#include <vector>

#include "common/collectives/communicator.h"

namespace isthmus {

// One communicator per rank, connected to each other; they share what they need.
std::vector<std::unique_ptr<Communicator>> MakeLocalCommunicators(uint32_t size);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COLLECTIVES_LOCAL_COMMUNICATOR_H_
