// Register, connect, announce, heartbeat, back off, give up: what happens to a worker's connection,
// and what it does about it. Jitter is in the middle, so pauses are what the code names: 300 ms
// between calls; 75, 150, 300 ... ms between streams.
#include "worker/core/connection_core.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// One overload per action, so that a new action does not compile until it has a text.
struct Text {
  std::string operator()(const SayWaitingForSite&) const { return "say: waiting for the site"; }
  std::string operator()(const CallRegister& a) const {
    return a.instance == 0 ? "register" : absl::StrCat("register, holding ", a.instance);
  }
  std::string operator()(const CallAnnounce& a) const {
    return absl::StrCat(a.ready ? "ready " : "not ready ", a.change, a.ready ? "" : ": ", a.reason);
  }
  std::string operator()(const CallHeartbeat&) const { return "heartbeat"; }
  std::string operator()(const CallLeave& a) const { return "leave: " + a.reason; }
  std::string operator()(const SetUpRun&) const { return "set up"; }
  std::string operator()(const OpenStream& a) const { return absl::StrCat("open ", a.stream); }
  std::string operator()(const RefuseJob& a) const {
    return absl::StrCat("refuse job of ", a.change, ": ", std::string(a.status.message()));
  }
  std::string operator()(const EndDaemon& a) const {
    return absl::StrCat("end ", static_cast<int>(a.code), ": ", a.reason);
  }
  std::string operator()(const SayTrouble& a) const { return "trouble: " + a.text; }
  std::string operator()(const SayBetter& a) const { return "better: " + a.text; }
};

class ConnectionCoreTest : public testing::Test {
 protected:
  using Texts = std::vector<std::string>;

  // What has been decided since the last call.
  Texts Done() {
    Texts texts;
    for (const ConnectionAction& action : out) texts.push_back(std::visit(Text(), action));
    out.clear();
    return texts;
  }
  // Lets time pass up to `duration`, waking the core whenever it wants to be, until it acts.
  Texts Wait(absl::Duration duration) {
    const absl::Time end = now + duration;
    while (out.empty() && core.NextWakeup() <= end) {
      now = std::max(now, core.NextWakeup());
      const absl::Time before = core.NextWakeup();
      core.Tick(now, out);
      EXPECT_TRUE(!out.empty() || core.NextWakeup() != before) << "woken for nothing";
    }
    if (out.empty()) now = end;
    return Done();
  }
  Texts Tick() { return Wait(absl::ZeroDuration()); }
  Texts Answer(const absl::Status& status) {
    core.CallAnswered(status, now, out);
    return Done();
  }
  Texts StreamEnds(const absl::Status& status, bool own = false) {
    core.StreamEnded(core.stream(), status, own, now, out);
    return Done();
  }
  Texts Welcome() {
    core.StreamWelcomed(core.stream(), now, out);
    return Done();
  }
  Texts Register(uint64_t instance = 7) {
    core.Registered(instance, Incarnation(1), now, out);
    return Done();
  }
  // Registered, set up, stream 1 open, the first heartbeat answered.
  void Begin() {
    core.SiteWhole(now);
    EXPECT_THAT(Tick(), ElementsAre("register"));
    EXPECT_THAT(Register(), ElementsAre("set up"));
    core.RunSetUp(now);
    EXPECT_THAT(Tick(), ElementsAre("open 1", "heartbeat"));
    EXPECT_THAT(Answer(absl::OkStatus()), IsEmpty());
    EXPECT_THAT(Welcome(), IsEmpty());
  }

  absl::Time now = absl::UnixEpoch();
  ConnectionCore core{{"there:1", absl::Minutes(1), absl::Seconds(1)}, [] { return 0.5; }};
  ConnectionActions out;
};

TEST_F(ConnectionCoreTest, NothingIsSaidBeforeAllMachinesAreThere) {
  EXPECT_THAT(Tick(), ElementsAre("say: waiting for the site"));
  EXPECT_THAT(Wait(absl::Seconds(9)), IsEmpty());
  EXPECT_THAT(Wait(absl::Seconds(1)), ElementsAre("say: waiting for the site"));
  core.SiteWhole(now);
  EXPECT_THAT(Tick(), ElementsAre("register"));
}

TEST_F(ConnectionCoreTest, RegistersUntilAnsweredAndSaysWhatItWaitsForAndThatItIsOver) {
  core.SiteWhole(now);
  EXPECT_THAT(Tick(), ElementsAre("register"));
  EXPECT_THAT(Wait(absl::Hours(1)), IsEmpty());  // one call at a time
  EXPECT_THAT(Answer(absl::UnavailableError("refused")),
              ElementsAre("trouble: waiting for the coordinator at there:1: register: refused"));
  EXPECT_THAT(Wait(absl::Milliseconds(299)), IsEmpty());
  EXPECT_THAT(Wait(absl::Milliseconds(1)), ElementsAre("register"));
  EXPECT_THAT(Answer(absl::DeadlineExceededError("silent")), IsEmpty());  // said a moment ago
  EXPECT_THAT(Wait(absl::Seconds(1)), ElementsAre("register"));
  EXPECT_THAT(Register(),
              ElementsAre("better: the coordinator at there:1 answers, after 600ms", "set up"));
  EXPECT_THAT(Wait(absl::Seconds(1)), IsEmpty());  // until it has been done
}

TEST_F(ConnectionCoreTest, WithoutHavingReachedTheCoordinatorItNeverGivesUp) {
  core.SiteWhole(now);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_THAT(Wait(absl::Seconds(1)), ElementsAre("register"));
    for (const std::string& text : Answer(absl::UnavailableError("down"))) {
      EXPECT_THAT(text, HasSubstr("trouble: "));
    }
  }
}

TEST_F(ConnectionCoreTest, GivesUpOnACoordinatorThatWasThereAndIsSilent) {
  Begin();
  EXPECT_THAT(StreamEnds(absl::UnavailableError("gone")),
              ElementsAre("trouble: the stream ended: gone"));
  Texts last;
  for (int i = 0; i < 1000 && !core.ended(); ++i) {
    last = Wait(absl::Seconds(2));
    if (!last.empty() && last.back() == "heartbeat") (void)Answer(absl::UnavailableError("down"));
    if (!last.empty() && last[0].starts_with("open")) {
      (void)StreamEnds(absl::UnavailableError("down"));
    }
  }
  EXPECT_THAT(last, ElementsAre("end 5: nothing heard of the coordinator at there:1 for 1m; start "
                                "this worker again once it "
                                "answers"));
  EXPECT_EQ(now, absl::UnixEpoch() + absl::Minutes(1));
  EXPECT_THAT(Wait(absl::Hours(1)), IsEmpty());
}

TEST_F(ConnectionCoreTest, HeartbeatsEveryIntervalOrAtOnce) {
  Begin();
  EXPECT_THAT(Wait(absl::Milliseconds(999)), IsEmpty());
  EXPECT_THAT(Wait(absl::Milliseconds(1)), ElementsAre("heartbeat"));
  EXPECT_THAT(Answer(absl::OkStatus()), IsEmpty());
  core.ReportSoon(now);
  EXPECT_THAT(Tick(), ElementsAre("heartbeat"));
}

TEST_F(ConnectionCoreTest, AnnouncementsAreNumberedAndRetriedInOrder) {
  Begin();
  EXPECT_EQ(core.Announce(true, "", now), 1u);
  EXPECT_EQ(core.Announce(false, "a rank died", now), 2u);
  EXPECT_THAT(Tick(), ElementsAre("ready 1"));
  EXPECT_THAT(Answer(absl::UnavailableError("cut")), ElementsAre(HasSubstr("ready: cut")));
  EXPECT_THAT(Wait(absl::Milliseconds(300)), ElementsAre("ready 1"));
  EXPECT_THAT(Answer(absl::OkStatus()), ElementsAre(HasSubstr("answers, after 300ms")));
  EXPECT_THAT(Tick(), ElementsAre("not ready 2: a rank died"));
  EXPECT_THAT(Answer(absl::OkStatus()), IsEmpty());
  EXPECT_THAT(Wait(absl::Milliseconds(699)), IsEmpty());
}

TEST_F(ConnectionCoreTest, ARefusedLayoutIsTheJobsFaultIfTheCoordinatorKnowsTheGroup) {
  Begin();
  core.Announce(true, "", now);
  EXPECT_THAT(Tick(), ElementsAre("ready 1"));
  EXPECT_THAT(Answer(absl::FailedPreconditionError("another layout")), IsEmpty());
  EXPECT_THAT(Tick(), ElementsAre("heartbeat"));
  EXPECT_THAT(Answer(absl::OkStatus()), ElementsAre("refuse job of 1: another layout"));
  EXPECT_THAT(Wait(absl::Milliseconds(999)), IsEmpty());
}

TEST_F(ConnectionCoreTest, ARefusedReadyOfACoordinatorThatDoesNotKnowTheGroupRegistersAgain) {
  Begin();
  core.Announce(true, "", now);
  EXPECT_THAT(Tick(), ElementsAre("ready 1"));
  EXPECT_THAT(Answer(absl::FailedPreconditionError("who?")), IsEmpty());
  EXPECT_THAT(Tick(), ElementsAre("heartbeat"));
  EXPECT_THAT(Answer(absl::FailedPreconditionError("who?")), IsEmpty());
  EXPECT_THAT(Wait(absl::Seconds(1)), ElementsAre("register"));
  EXPECT_THAT(Register(8), ElementsAre("set up"));
  core.RunSetUp(now);
  EXPECT_THAT(Tick(), ElementsAre("heartbeat"));  // the old stream has not ended yet
  EXPECT_EQ(core.Announce(true, "", now), 1u);    // counted anew
}

TEST_F(ConnectionCoreTest, P14_WhoHoldsStateSaysOfWhichInstanceAndRefusalIsALoss) {
  Begin();
  core.HoldsState();
  EXPECT_THAT(Wait(absl::Seconds(1)), ElementsAre("heartbeat"));
  EXPECT_THAT(Answer(absl::FailedPreconditionError("who?")), IsEmpty());
  EXPECT_THAT(Wait(absl::Seconds(1)), ElementsAre("register, holding 7"));
  EXPECT_THAT(Answer(absl::FailedPreconditionError("another instance")),
              ElementsAre("end 5: register: another instance; start this worker again to join that "
                          "run"));
}

TEST_F(ConnectionCoreTest, ARefusedRegistrationEndsTheWorker) {
  core.SiteWhole(now);
  EXPECT_THAT(Tick(), ElementsAre("register"));
  EXPECT_THAT(Answer(absl::FailedPreconditionError("k: expected 8")),
              ElementsAre("end 3: register: k: expected 8"));
  EXPECT_THAT(Wait(absl::Hours(1)), IsEmpty());
}

TEST_F(ConnectionCoreTest, P5_AFencedWorkerEndsWhicheverWayItHears) {
  Begin();
  EXPECT_THAT(StreamEnds(absl::AbortedError("fenced")), ElementsAre("end 4: fenced"));
  ConnectionCore other({"there:1"}, [] { return 0.5; });
  other.SiteWhole(now);
  other.Tick(now, out);
  EXPECT_THAT(Done(), ElementsAre("register"));
  other.CallAnswered(absl::AbortedError("fenced"), now, out);
  EXPECT_THAT(Done(), ElementsAre("end 4: fenced"));
}

// --- the stream --------------------------------------------------------------------------------

TEST_F(ConnectionCoreTest, AStreamThatCannotBeOpenedIsTriedEverMoreSlowly) {
  Begin();
  (void)StreamEnds(absl::UnavailableError("cut"));
  std::vector<int64_t> pauses;
  for (int i = 0; i < 7; ++i) {
    const absl::Time ended = now;
    while (true) {
      const Texts texts = Wait(absl::Seconds(5));
      if (!texts.empty() && texts.back() == "heartbeat") (void)Answer(absl::OkStatus());
      if (!texts.empty() && texts[0].starts_with("open")) break;
    }
    pauses.push_back(absl::ToInt64Milliseconds(now - ended));
    (void)StreamEnds(absl::UnavailableError("refused"));
  }
  EXPECT_THAT(pauses, ElementsAre(75, 150, 300, 600, 1200, 1500, 1500));
}

TEST_F(ConnectionCoreTest, AStreamThatWasWelcomedAndCutIsTriedAtOnceAndItsReturnIsSaid) {
  Begin();
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(StreamEnds(absl::UnavailableError("cut")),
                ElementsAre("trouble: the stream ended: cut"));
    EXPECT_THAT(Wait(absl::Milliseconds(75)), ElementsAre(absl::StrCat("open ", 2 + i)));
    EXPECT_THAT(Welcome(), ElementsAre("better: the stream is back, after 75ms"));
  }
}

TEST_F(ConnectionCoreTest, TheEndOfAnOlderStreamIsNone) {
  Begin();
  (void)StreamEnds(absl::UnavailableError("cut"));
  EXPECT_THAT(Wait(absl::Milliseconds(75)), ElementsAre("open 2"));
  core.StreamEnded(1, absl::AbortedError("replaced"), false, now, out);
  EXPECT_THAT(Done(), IsEmpty());
  EXPECT_FALSE(core.ended());
}

// Twelve times a second it sent the same again, for ever.
TEST_F(ConnectionCoreTest, AMalformedMessageIsNeverSaidAgain) {
  Begin();
  EXPECT_THAT(StreamEnds(absl::InvalidArgumentError("an empty message")),
              ElementsAre("end 3: the coordinator refuses what this worker sends: "
                          "an empty message"));
}

TEST_F(ConnectionCoreTest, WhatComesOutOfOrderIsSaidOnceMoreAfterRegistering) {
  Begin();
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(StreamEnds(absl::FailedPreconditionError("not in sync")),
                ElementsAre("trouble: the stream ended: not in sync"));
    EXPECT_THAT(Tick(), ElementsAre("register"));
    EXPECT_THAT(Register(), IsEmpty());  // the same run
    EXPECT_THAT(Wait(absl::Milliseconds(75)), ElementsAre(absl::StrCat("open ", 2 + i)));
    (void)Welcome();
    core.StreamProgressed(core.stream(), now);  // and the run goes on
  }
  EXPECT_THAT(StreamEnds(absl::FailedPreconditionError("not in sync")),
              ElementsAre("trouble: the stream ended: not in sync"));
  EXPECT_THAT(Tick(), ElementsAre("register"));
  EXPECT_THAT(Register(), IsEmpty());
  EXPECT_THAT(Wait(absl::Milliseconds(75)), ElementsAre("open 5"));
  (void)Welcome();
  EXPECT_THAT(StreamEnds(absl::FailedPreconditionError("not in sync")),
              ElementsAre("end 3: the coordinator refuses what this worker sends: not in sync"));
}

TEST_F(ConnectionCoreTest, WhatThisWorkerItselfWouldNotTakeOpensAnotherStream) {
  Begin();
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(StreamEnds(absl::InvalidArgumentError("an old snapshot"), true),
                ElementsAre("trouble: the stream ended: an old snapshot"));
    while (!testing::Value(Wait(absl::Seconds(2)), ElementsAre(absl::StrCat("open ", 2 + i)))) {
      (void)Answer(absl::OkStatus());  // heartbeats
    }
    (void)Welcome();
  }
}

// --- the end -----------------------------------------------------------------------------------

TEST_F(ConnectionCoreTest, WhoLeavesSaysSoIfAnybodyKnowsIt) {
  core.Leave("stopped", out);
  EXPECT_THAT(Done(), ElementsAre("end 0: stopped"));
}

TEST_F(ConnectionCoreTest, LeavingIsTheLastThatIsSaid) {
  Begin();
  core.Leave("the run has ended", out);
  EXPECT_THAT(Done(), ElementsAre("leave: the run has ended", "end 0: the run has ended"));
  core.Fail(DaemonExit::kFailure, "too late", out);
  EXPECT_THAT(StreamEnds(absl::AbortedError("too late")), IsEmpty());
  EXPECT_THAT(Wait(absl::Hours(1)), IsEmpty());
}

}  // namespace
}  // namespace isthmus
