// How fast a link is, learned from the frames that cross it anyway, at the end where they arrive
// (docs/protocol.md, P24a).
#ifndef ISTHMUS_COMMON_EXCHANGE_LINK_METER_H_
#define ISTHMUS_COMMON_EXCHANGE_LINK_METER_H_

#include <absl/time/time.h>

#include <cstdint>
#include <deque>

#include "common/run/link_estimate.h"

namespace isthmus {

// Each frame says how long its sender had nothing to send before it. In a run of frames the link
// has had something to carry all the time if each was sent before the one before it had arrived: if
// the sender had been idle, all in all, for no longer than the arrivals took. Then bytes over the
// time from the first one's arrival to the last one's is the link's rate. What came in spans of
// time, whoever made the pauses, says how much the link carries at least.
//
// Runs and spans are of a tenth of a second, or until the sender pauses. They begin with a frame
// that was waited for: a receiver that was held up takes what has queued meanwhile all at once,
// which is nobody's rate. So does TCP after a loss, a fifth of a second's worth at a time, whoever
// waits; so the rate is that of the last runs together, a second of them.
//
// Thread-compatible; bounded.
class LinkMeter {
 public:
  struct Frame {
    uint64_t bytes = 0;
    absl::Duration idle;     // of its sender, before it
    bool waited_for = true;  // by its receiver, which had nothing else to do when it came
  };
  // It has arrived whole.
  void Arrived(const Frame& frame, absl::Time now);

  LinkEstimate estimate() const;

 private:
  // What came after the frame with which it began.
  struct Span {
    bool open = false;
    absl::Time began;
    uint64_t bytes = 0;
    absl::Duration idle;
  };
  // The last second of such.
  class Recent {
   public:
    void Add(const Span& span, absl::Time end, absl::Duration least);
    double bytes_per_second() const;
    absl::Duration took() const { return took_; }
    uint32_t count() const { return static_cast<uint32_t>(spans_.size()); }

   private:
    struct Ended {
      uint64_t bytes = 0;
      absl::Duration took;
    };
    std::deque<Ended> spans_;
    uint64_t bytes_ = 0;  // of all of them
    absl::Duration took_;
  };

  void EndRun(absl::Time end);
  void EndSpan(absl::Time end);

  absl::Time last_ = absl::InfinitePast();
  Span run_;   // of frames that the link spaced
  Span span_;  // of any
  Recent samples_;
  Recent carried_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_LINK_METER_H_
