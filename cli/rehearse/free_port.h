// A port for a program that cannot be asked which one it took.
#ifndef ISTHMUS_CLI_REHEARSE_FREE_PORT_H_
#define ISTHMUS_CLI_REHEARSE_FREE_PORT_H_

#include <absl/status/statusor.h>

#include <cstdint>

namespace isthmus {

// A TCP port of 127.0.0.1 that nobody had a moment ago. The system does not soon give it to others
// that take any. Errors: RESOURCE_EXHAUSTED with the system's words.
absl::StatusOr<uint16_t> FreePort();

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_FREE_PORT_H_
