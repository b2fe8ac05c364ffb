// What the program does once its flags are read.
#ifndef ISTHMUS_EXAMPLES_LM_JOB_H_
#define ISTHMUS_EXAMPLES_LM_JOB_H_

#include "examples/lm/options.h"

namespace isthmus::lm {

// Trains, validates, samples and writes what was asked for, or samples from a saved model. Says on
// stderr what went wrong. Returns the exit code.
int RunJob(const Options& options);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_JOB_H_
