// The flags of `isthmus rehearse`, described for --help. Their values are checked in options.h.
#ifndef ISTHMUS_CLI_REHEARSE_FLAGS_H_
#define ISTHMUS_CLI_REHEARSE_FLAGS_H_

#include "cli/rehearse/options.h"

namespace CLI {
class App;
}

namespace isthmus {

// `flags` outlives the parsing.
void AddRehearseFlags(CLI::App* app, RehearseFlags* flags);
// For the end of --help.
const char* RehearseExamples();

}  // namespace isthmus

#endif  // ISTHMUS_CLI_REHEARSE_FLAGS_H_
