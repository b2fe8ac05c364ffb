#include "common/exchange/link_meter.h"

#include <algorithm>

namespace isthmus {
namespace {

constexpr absl::Duration kSpan = absl::Milliseconds(100);
// A shorter run tells when the receiver looked, rather than when things came.
constexpr absl::Duration kShortestRun = absl::Milliseconds(10);
// What came in a shorter time may have taken as long.
constexpr absl::Duration kShortestSpan = absl::Milliseconds(20);
// What fewer runs say may be chance.
constexpr absl::Duration kEnough = absl::Milliseconds(100);
constexpr absl::Duration kRecent = absl::Seconds(1);

}  // namespace

void LinkMeter::Recent::Add(const Span& span, absl::Time end, absl::Duration least) {
  if (span.bytes == 0) return;
  spans_.push_back({span.bytes, std::max(end - span.began, least)});
  bytes_ += spans_.back().bytes;
  took_ += spans_.back().took;
  while (took_ - spans_.front().took >= kRecent) {
    bytes_ -= spans_.front().bytes;
    took_ -= spans_.front().took;
    spans_.pop_front();
  }
}

double LinkMeter::Recent::bytes_per_second() const {
  return spans_.empty() ? 0 : static_cast<double>(bytes_) / absl::ToDoubleSeconds(took_);
}

void LinkMeter::Arrived(const Frame& frame, absl::Time now) {
  const absl::Duration idle = std::max(frame.idle, absl::ZeroDuration());
  if (now < last_) run_.open = span_.open = false;  // a clock that went back

  // When the link was done with the frame before, from when the run's first was sent. How long that
  // one took is not known: half of what the second did, to be on the safe side.
  const absl::Duration done = run_.bytes == 0 ? (now - run_.began) / 2 : last_ - run_.began;
  if (run_.open && run_.idle + idle > done) {
    EndRun(last_);  // it was done before this one was sent
  } else if (run_.open) {
    run_.bytes += frame.bytes;
    run_.idle += idle;
    if (frame.waited_for && now - run_.began >= kSpan) EndRun(now);
  }
  if (span_.open && idle >= kSpan) {
    EndSpan(last_);
  } else if (span_.open) {
    span_.bytes += frame.bytes;
    if (frame.waited_for && now - span_.began >= kSpan) EndSpan(now);
  }
  for (Span* span : {&run_, &span_}) {
    if (!span->open && frame.waited_for) *span = {.open = true, .began = now};
  }
  last_ = now;
}

void LinkMeter::EndRun(absl::Time end) {
  if (end - run_.began >= kShortestRun) samples_.Add(run_, end, kShortestRun);
  run_.open = false;
}

void LinkMeter::EndSpan(absl::Time end) {
  carried_.Add(span_, end, kShortestSpan);
  span_.open = false;
}

LinkEstimate LinkMeter::estimate() const {
  const double rate = samples_.bytes_per_second(), carried = carried_.bytes_per_second();
  // A little more comes of how spans and runs fall.
  if (samples_.took() < kEnough || carried > 1.1 * rate) return {carried, true, 0};
  return {rate, false, samples_.count()};
}

}  // namespace isthmus
