// What the exit code of isthmus-coordinator says; documented in its --help.
#ifndef ISTHMUS_SERVER_EXIT_CODES_H_
#define ISTHMUS_SERVER_EXIT_CODES_H_

namespace isthmus {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitCannotListen = 3;

}  // namespace isthmus

#endif  // ISTHMUS_SERVER_EXIT_CODES_H_
