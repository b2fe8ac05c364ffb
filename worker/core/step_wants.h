// What a job's step asks of its daemon (docs/protocol.md, P29): as a rule that what it has is taken
// in, and that it is given what comes of that. With overlap the two are asked for at different
// steps.
#ifndef ISTHMUS_WORKER_CORE_STEP_WANTS_H_
#define ISTHMUS_WORKER_CORE_STEP_WANTS_H_

namespace isthmus {

// In the order of its members.
struct StepWants {
  bool give_first = false;  // the round that was taken in last is applied, and its parameters given
  bool take = true;         // gradients, or progress, are taken into the next round
  bool give = true;         // that round, or the one taken in last, is applied and given
  // Instead of all that: the job's buffers hold the anchor for a while, which changes nothing else.
  bool anchor = false;

  friend bool operator==(const StepWants&, const StepWants&) = default;

  // The job steps on before it is given what comes of this.
  bool goes_on() const { return take && !give; }
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_CORE_STEP_WANTS_H_
