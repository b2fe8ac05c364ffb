// Ctrl-C and SIGTERM as something to wait for.
#ifndef ISTHMUS_COMMON_BASE_SIGNALS_H_
#define ISTHMUS_COMMON_BASE_SIGNALS_H_

namespace isthmus {

// Blocks SIGINT and SIGTERM in the calling thread and those it starts later. Call first in main.
void BlockStopSignals();

// Waits for one of them, or for at most `milliseconds` (-1: without limit). Returns the signal, or
// 0 when the time passed first.
int WaitForStopSignal(int milliseconds);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_SIGNALS_H_
