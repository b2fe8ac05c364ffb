// Packets and deaths in, actions out.
#include "worker/jobs/session_core.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <utility>

#include "client/isthmus.h"
#include "tests/worker/jobs/packets.h"

namespace isthmus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// "attached 1", "hang up on 2: ABORTED: ...": actions as tests want to read them.
std::string Describe(const JobAction& action) {
  struct Visitor {
    std::string operator()(const SendBuffers& a) {
      return absl::StrCat("buffers to ", a.to.value(), " as rank ", a.rank);
    }
    std::string operator()(const DropBuffers& a) { return absl::StrCat("drop rank ", a.rank); }
    std::string operator()(const SendAttached& a) {
      return absl::StrCat("attached to ", a.to.value());
    }
    std::string operator()(const SendWaiting& a) {
      return absl::StrCat("tell ", a.to.value(), ": ", a.what);
    }
    std::string operator()(const SendGoOn& a) { return absl::StrCat("go on to ", a.to.value()); }
    std::string operator()(const NameStepOfRanks& a) {
      return absl::StrCat("name a step from ", a.not_before);
    }
    std::string operator()(const UnnameStep&) { return "unname"; }
    std::string operator()(const SendStepDone& a) { return absl::StrCat("done to ", a.to.value()); }
    std::string operator()(const HangUp& a) {
      return absl::StrCat("hang up on ", a.to.value(), ": ", a.status.ToString());
    }
    std::string operator()(const ReportAttached& a) {
      return absl::StrCat("session ", a.session_id);
    }
    std::string operator()(const ReportStep& a) { return absl::StrCat("step of ", a.session_id); }
    std::string operator()(const ReportLost& a) {
      return absl::StrCat("lost ", a.session_id, ": ", a.reason);
    }
  };
  return std::visit(Visitor(), action);
}

class SessionCoreTest : public testing::Test {
 protected:
  explicit SessionCoreTest(uint32_t ranks = 2) {
    SessionCore::Options options;
    options.ranks = ranks;
    options.name = "group 3";
    options.max_pending = 2;
    options.admit = [](const Layout& layout, const JobTerms&) {
      return layout.length() <= 1 << 17
                 ? absl::OkStatus()
                 : absl::ResourceExhaustedError(absl::StrCat("too long: ", layout.length()));
    };
    core_.emplace(options);
  }
  using Lines = std::vector<std::string>;
  // But for words to those that wait, which are kept apart in told_.
  Lines ToLines(const SessionCore::Actions& actions) {
    Lines lines;
    for (const JobAction& action : actions) {
      auto& to = std::holds_alternative<SendWaiting>(action) ? told_ : lines;
      to.push_back(Describe(action));
    }
    return lines;
  }
  Lines TakeTold() { return std::exchange(told_, {}); }
  Lines Connect(uint64_t id) { return ToLines(core_->Connected(JobConnectionId(id), now_)); }
  Lines Say(uint64_t id, const Packet& packet) {
    return ToLines(core_->Received(JobConnectionId(id), packet, now_));
  }
  Lines Die(uint64_t id) { return ToLines(core_->Closed(JobConnectionId(id))); }
  // Up to FILLED; what the last packet brought.
  Lines AttachAs(uint64_t id, int rank, const Packet& entry = EntryPacket()) {
    EXPECT_THAT(Connect(id), IsEmpty());
    EXPECT_THAT(Say(id, HelloPacket(rank)), IsEmpty());
    EXPECT_THAT(Say(id, entry), ElementsAre(absl::StrCat("buffers to ", id, " as rank ", rank)));
    return Say(id, BarePacket(ISTHMUS_WIRE_FILLED));
  }
  Lines AttachOwn(uint64_t id, int rank) {
    Connect(id);
    Say(id, HelloPacket(rank, 1, -1, 0, /*own_optimizer=*/1));
    Say(id, EntryPacket());
    return Say(id, BarePacket(ISTHMUS_WIRE_FILLED));
  }
  // Connections 1 and 2 as ranks 0 and 1 of session 1, ready to step.
  void AttachBoth() {
    AttachAs(1, 0);
    EXPECT_THAT(AttachAs(2, 1), ElementsAre("session 1"));
    EXPECT_THAT(ToLines(core_->FinishAttach(1, AttachReply())),
                ElementsAre("attached to 1", "attached to 2"));
  }

  std::optional<SessionCore> core_;
  absl::Time now_ = absl::UnixEpoch();
  Lines told_;
};

TEST_F(SessionCoreTest, ASessionIsWholeOnceEveryRankHasFilledItsBuffers) {
  EXPECT_THAT(AttachAs(7, 1), IsEmpty());
  EXPECT_THAT(AttachAs(8, 0), ElementsAre("session 1"));
  EXPECT_EQ(core_->layout().length(), 4096u);
  // By rank, not by arrival.
  EXPECT_THAT(ToLines(core_->FinishAttach(1, AttachReply())),
              ElementsAre("attached to 8", "attached to 7"));
}

TEST_F(SessionCoreTest, AStepIsReportedOnceAllRanksHaveBegunIt) {
  AttachBoth();
  for (int round = 0; round < 3; ++round) {
    EXPECT_THAT(Say(2, StepPacket()), IsEmpty());
    EXPECT_THAT(Say(1, StepPacket()), ElementsAre("step of 1"));
    EXPECT_THAT(ToLines(core_->FinishStep(1, StepReply())), ElementsAre("done to 1", "done to 2"));
  }
}

TEST_F(SessionCoreTest, WaitingRanksKeepWaitingWhenAnotherDies) {
  AttachAs(1, 0);
  Connect(2);
  Say(2, HelloPacket(1));
  Say(2, EntryPacket());
  EXPECT_THAT(Die(2), ElementsAre("drop rank 1"));
  Connect(3);
  EXPECT_THAT(Say(3, Packet(3)), ElementsAre(HasSubstr("hang up on 3: INVALID_ARGUMENT")));
  EXPECT_THAT(AttachAs(4, 1), ElementsAre("session 1"));
}

TEST_F(SessionCoreTest, AfterAllFormingRanksLeftAnotherLayoutMayCome) {
  AttachAs(1, 0);
  EXPECT_THAT(Die(1), ElementsAre("drop rank 0"));
  AttachAs(2, 0, EntryPacket(0, "other"));
  EXPECT_THAT(AttachAs(3, 1, EntryPacket(0, "other")), ElementsAre("session 1"));
}

TEST_F(SessionCoreTest, OfTwoHandshakesForOneRankTheFirstToFinishHasIt) {
  Connect(1);
  Connect(2);
  EXPECT_THAT(Say(1, HelloPacket(0)), IsEmpty());
  EXPECT_THAT(Say(2, HelloPacket(0)), IsEmpty());
  EXPECT_THAT(Say(2, EntryPacket()), ElementsAre("buffers to 2 as rank 0"));
  EXPECT_THAT(Say(1, EntryPacket()),
              ElementsAre(HasSubstr("hang up on 1: FAILED_PRECONDITION: group 3, rank 0: "
                                    "local_rank: expected one that is free")));
}

TEST_F(SessionCoreTest, ADeathEndsAWholeSessionAtOnceInEveryState) {
  for (uint64_t session = 1; session <= 4; ++session) {
    const uint64_t a = 2 * session;
    const uint64_t b = a + 1;
    AttachAs(a, 0);
    EXPECT_THAT(AttachAs(b, 1), ElementsAre(absl::StrCat("session ", session)));
    if (session >= 2) core_->FinishAttach(session, AttachReply());
    if (session >= 3) Say(a, StepPacket());
    if (session >= 4) Say(b, StepPacket());
    EXPECT_THAT(Die(b),
                ElementsAre(absl::StrCat("hang up on ", a,
                                         ": ABORTED: group 3, rank 0: the session ended: rank 1: "
                                         "went away without detaching"),
                            absl::StrCat("lost ", session,
                                         ": group 3: the session ended: rank 1: went away without "
                                         "detaching")));
    // The engine's answer comes too late and does nothing.
    EXPECT_THAT(ToLines(core_->FinishAttach(session, AttachReply())), IsEmpty());
    EXPECT_THAT(ToLines(core_->FinishStep(session, StepReply())), IsEmpty());
    EXPECT_THAT(Die(a), IsEmpty());
  }
}

TEST_F(SessionCoreTest, WhoBreaksTheProtocolIsToldAndTheOthersAreAborted) {
  const Packet breaches[] = {
      BarePacket(ISTHMUS_WIRE_FILLED),
      HelloPacket(0),
      EntryPacket(),
      StepPacket(0.5f, 2),
      StepPacket(std::numeric_limits<float>::infinity()),
      StepPacket(-1e-9f),
      StepPacket(0.5f, 1, (uint64_t{1} << 52) + 1),
      StepPacket(0.5f, 65),
      BarePacket(ISTHMUS_WIRE_STEP_DONE),
      Packet(),
      Packet(5),
      Packet(2000),
  };
  uint64_t session = 1;
  uint64_t id = 1;
  for (const Packet& breach : breaches) {
    AttachAs(id, 0);
    AttachAs(id + 1, 1);
    core_->FinishAttach(session, AttachReply());
    const Lines lines = Say(id, breach);
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_THAT(lines[0], HasSubstr(absl::StrCat("hang up on ", id, ": ")));
    EXPECT_THAT(lines[0], HasSubstr("group 3, rank 0: "));
    EXPECT_THAT(lines[1], HasSubstr(absl::StrCat("hang up on ", id + 1, ": ABORTED")));
    EXPECT_THAT(lines[1], HasSubstr("rank 0: "));
    EXPECT_THAT(lines[2], HasSubstr(absl::StrCat("lost ", session)));
    ++session;
    id += 2;
  }
}

TEST_F(SessionCoreTest, AStepBegunTwiceIsABreach) {
  AttachBoth();
  Say(1, StepPacket());
  EXPECT_THAT(Say(1, StepPacket())[0],
              HasSubstr("FAILED_PRECONDITION: group 3, rank 0: expected one STEP_BEGIN per step"));
}

TEST_F(SessionCoreTest, AStepBeforeTheAttachIsAnsweredIsABreach) {
  AttachAs(1, 0);
  AttachAs(2, 1);
  EXPECT_THAT(Say(2, StepPacket())[0], HasSubstr("hang up on 2: FAILED_PRECONDITION"));
}

TEST_F(SessionCoreTest, P29_RanksAreTakenInAtOneAndTheSameStep) {
  AttachOwn(1, 0);
  AttachOwn(2, 1);
  core_->FinishAttach(1, AttachReply{.every_steps = 3});
  const auto at = [](uint64_t step) {
    return StepPacket(0, 1, 1, ISTHMUS_WIRE_TAKE | ISTHMUS_WIRE_GIVE, step);
  };
  Say(1, at(3));
  EXPECT_THAT(Say(2, at(4))[0],
              HasSubstr("INVALID_ARGUMENT: group 3, rank 1: step: expected number 3 as rank 0's, "
                        "got 4"));
}

TEST_F(SessionCoreTest, P29_OnlyAJobThatStepsByItselfGoesOn) {
  AttachBoth();
  EXPECT_THAT(
      Say(1, StepPacket(0.5f, 1, 1, ISTHMUS_WIRE_TAKE))[0],
      HasSubstr("INVALID_ARGUMENT: group 3, rank 0: step: expected one that is taken in and "
                "given, without own_optimizer"));
}

// Own optimizers, and steps that are named.
TEST_F(SessionCoreTest, P29_RanksStopAtTheStepThatIsNamedAndGoOnFromOthers) {
  AttachOwn(1, 0);
  EXPECT_THAT(AttachOwn(2, 1), ElementsAre("session 1"));
  EXPECT_THAT(ToLines(core_->NameStep(1)), IsEmpty()) << "not attached yet";
  ToLines(core_->FinishAttach(1, AttachReply{.every_steps = 0, .overlap_steps = 5}));
  EXPECT_THAT(ToLines(core_->NameStep(2)), IsEmpty()) << "another session";
  EXPECT_THAT(ToLines(core_->NameStep(1)), ElementsAre("name a step from 1"));
  core_->StepNamed(7);
  EXPECT_THAT(ToLines(core_->NameStep(1)), IsEmpty()) << "one is";
  const auto take = [](uint64_t step) { return StepPacket(0, 1, 1, ISTHMUS_WIRE_TAKE, step); };
  EXPECT_THAT(Say(1, take(6)), ElementsAre("go on to 1")) << "named before, and passed by another";
  EXPECT_THAT(Say(1, take(7)), IsEmpty());
  EXPECT_THAT(Say(2, take(7)), ElementsAre("unname", "step of 1"));
  ToLines(core_->FinishStep(1, StepReply()));
  EXPECT_THAT(ToLines(core_->NameStep(1)), ElementsAre("name a step from 12"))
      << "not before they are given what was taken in at 7";
  core_->StepNamed(12);
  const auto next = [](uint64_t step) {
    return StepPacket(0, 1, 1, ISTHMUS_WIRE_GIVE_FIRST | ISTHMUS_WIRE_TAKE, step);
  };
  EXPECT_THAT(Say(1, next(12)), IsEmpty());
  EXPECT_THAT(Say(2, next(13))[0],
              HasSubstr("step: expected at most 12, where all ranks stop, got 13"));
}

TEST_F(SessionCoreTest, P29_AWayIsTakenInOnce) {
  struct Case {
    uint32_t overlap;
    std::vector<uint32_t> wants;  // the last is refused
    const char* words;
  };
  constexpr uint32_t kFirst = ISTHMUS_WIRE_GIVE_FIRST, kTake = ISTHMUS_WIRE_TAKE;
  const Case cases[] = {{0, {kTake}, "expected one that is given too, without overlap"},
                        {2, {kTake, kTake}, "expected to be given what was taken in before"},
                        {2, {kFirst | kTake}, "expected nothing to be given first"},
                        {2, {kTake, ISTHMUS_WIRE_GIVE, kFirst | kTake}, "nothing was taken in"},
                        {2, {kTake, ISTHMUS_WIRE_ANCHOR, kTake}, "taken in before"}};
  uint64_t session = 0, id = 0;
  for (const Case& c : cases) {
    const uint64_t a = ++id, b = ++id;
    AttachOwn(a, 0);
    AttachOwn(b, 1);
    ToLines(core_->FinishAttach(++session, AttachReply{.overlap_steps = c.overlap}));
    for (size_t i = 0; i + 1 < c.wants.size(); ++i) {
      for (const uint64_t rank : {a, b}) Say(rank, StepPacket(0, 1, 1, c.wants[i]));
      ToLines(core_->FinishStep(session, StepReply()));
    }
    EXPECT_THAT(Say(a, StepPacket(0, 1, 1, c.wants.back()))[0], HasSubstr(c.words));
  }
}

TEST_F(SessionCoreTest, WhatAStepWantsMustGoTogether) {
  const uint32_t apart[] = {0, ISTHMUS_WIRE_GIVE_FIRST, ISTHMUS_WIRE_GIVE_FIRST | ISTHMUS_WIRE_GIVE,
                            ISTHMUS_WIRE_ANCHOR | ISTHMUS_WIRE_TAKE, 16};
  for (const uint32_t wants : apart) {
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeJobMessage(StepPacket(0.5f, 1, 1, wants)).status()))
        << wants;
  }
}

TEST_F(SessionCoreTest, RatesMustAgreeBetweenRanks) {
  AttachBoth();
  Say(2, StepPacket(0.25f));
  EXPECT_THAT(Say(1, StepPacket(0.5f)),
              ElementsAre("hang up on 2: INVALID_ARGUMENT: group 3, rank 1: lr[0]: expected rank "
                          "0's 0.5, got 0.25",
                          HasSubstr("hang up on 1: ABORTED: group 3, rank 0: the session ended: "
                                    "rank 1: lr[0]"),
                          HasSubstr("lost 1")));
}

// The daemon's own check, for jobs that do not use our library: a coordinator would refuse such a
// contribution for good, and every site would wait for it.
TEST_F(SessionCoreTest, RatesAndSamplesThatNoCoordinatorTakesAreRefusedInWords) {
  AttachBoth();
  EXPECT_THAT(Say(1, StepPacket(-1e-9f))[0],
              "hang up on 1: INVALID_ARGUMENT: group 3, rank 0: lr[0]: expected a number from 0 to "
              "1e+06, got -1e-09");
  AttachAs(3, 0);
  AttachAs(4, 1);
  // Of six ranks on several machines: what they sum to must be within bounds, too.
  core_->FinishAttach(2, AttachReply{.first_rank = 2, .world_size = 6});
  const uint64_t most = (uint64_t{1} << 53) / 6;
  Say(3, StepPacket(1e6f, 1, most));
  EXPECT_THAT(Say(4, StepPacket(1e6f, 1, most + 1))[0],
              AllOf(HasSubstr("hang up on 4: INVALID_ARGUMENT: group 3, rank 1: samples: expected"),
                    HasSubstr(absl::StrCat("got ", most + 1))));
  AttachAs(5, 0);
  EXPECT_THAT(AttachAs(6, 1), ElementsAre("session 3"));
  core_->FinishAttach(3, AttachReply{.world_size = 6});
  Say(5, StepPacket(1e6f, 1, most));
  EXPECT_THAT(Say(6, StepPacket(1e6f, 1, most)), ElementsAre("step of 3"));
}

TEST_F(SessionCoreTest, WhoWaitsIsToldWhatForAndOnlyOnce) {
  AttachAs(1, 0);
  EXPECT_THAT(TakeTold(), ElementsAre("tell 1: waiting for rank 1 of 2 to attach"));
  ToLines(core_->SetWaiting("waiting for the coordinator"));
  EXPECT_THAT(TakeTold(), ElementsAre("tell 1: waiting for rank 1 of 2 to attach; waiting for the "
                                      "coordinator"));
  ToLines(core_->SetWaiting("waiting for the coordinator"));
  EXPECT_THAT(TakeTold(), IsEmpty());
  AttachAs(2, 1);
  EXPECT_THAT(TakeTold(), ElementsAre("tell 1: waiting for the coordinator",
                                      "tell 2: waiting for the coordinator"));
  ToLines(core_->SetWaiting(""));
  EXPECT_THAT(TakeTold(), ElementsAre("tell 1: waiting for the run to start",
                                      "tell 2: waiting for the run to start"));
  ToLines(core_->SetWaiting("waiting for groups: 1 of 2"));
  TakeTold();
  ToLines(core_->FinishAttach(1, AttachReply()));
  // A step is not worth words, unless something holds it up.
  Say(1, StepPacket());
  Say(2, StepPacket());
  EXPECT_THAT(TakeTold(), IsEmpty());
  ToLines(core_->SetWaiting("waiting for the coordinator"));
  EXPECT_THAT(TakeTold(), ElementsAre("tell 1: waiting for the coordinator",
                                      "tell 2: waiting for the coordinator"));
  ToLines(core_->FinishStep(1, StepReply()));
  Say(2, StepPacket());
  EXPECT_THAT(TakeTold(), ElementsAre("tell 2: waiting for the coordinator"));
  ToLines(core_->SetWaiting(""));
  EXPECT_THAT(TakeTold(), ElementsAre("tell 2: "));
}

TEST_F(SessionCoreTest, EngineErrorsAndEndSessionReachAllRanks) {
  AttachAs(1, 0);
  EXPECT_THAT(
      ToLines(core_->EndSession(absl::UnavailableError("no coordinator"))),
      ElementsAre("hang up on 1: UNAVAILABLE: group 3, rank 0: no coordinator", "drop rank 0"));
  AttachAs(3, 0);
  AttachAs(4, 1);
  EXPECT_THAT(ToLines(core_->FinishAttach(1, absl::InternalError("x"))),
              ElementsAre("hang up on 3: INTERNAL: group 3, rank 0: x",
                          "hang up on 4: INTERNAL: group 3, rank 1: x", "lost 1: group 3: x"));
}

TEST_F(SessionCoreTest, OtherVersionsAndOversizeTablesAreRefused) {
  auto hello = NewWire<isthmus_wire_hello>(ISTHMUS_WIRE_HELLO);
  hello.header.version = 9;
  Connect(1);
  EXPECT_THAT(Say(1, ToPacket(hello)),
              ElementsAre("hang up on 1: FAILED_PRECONDITION: group 3: job protocol: expected "
                          "version 8, got 9"));
  Connect(2);
  EXPECT_THAT(
      Say(2, HelloPacket(0, ISTHMUS_WIRE_MAX_ENTRIES + 1)),
      ElementsAre(HasSubstr("RESOURCE_EXHAUSTED: group 3, rank 0: expected at most 131072")));
  Connect(3);
  EXPECT_THAT(Say(3, HelloPacket(0, 0)), ElementsAre(HasSubstr("INVALID_ARGUMENT")));
  Connect(4);
  Say(4, HelloPacket(0, 2));
  EXPECT_THAT(Say(4, EntryPacket(1)), ElementsAre(HasSubstr("expected entry 0 of 2, got entry 1")));
  Connect(5);
  Say(5, HelloPacket(0));
  EXPECT_THAT(Say(5, EntryPacket(0, "w", 1 << 20)),
              ElementsAre("hang up on 5: RESOURCE_EXHAUSTED: group 3, rank 0: too long: 1048576"));
}

Packet DeviceHello(int rank, uint32_t memory = ISTHMUS_DEVICE_MEMORY, uint32_t entries = 1) {
  return HelloPacket(rank, entries, -1, memory);
}

Packet HalfEntry(uint32_t index, int32_t dtype = ISTHMUS_BFLOAT16) {
  return EntryPacket(index, index == 0 ? "w" : "v", 8, dtype);
}

TEST_F(SessionCoreTest, DeviceMemoryNeedsADaemonWithDevices) {
  Connect(1);
  EXPECT_THAT(
      Say(1, DeviceHello(0)),
      ElementsAre("hang up on 1: FAILED_PRECONDITION: group 3, rank 0: memory: expected the "
                  "host's, since the daemon's ranks are CPUs, got a device's"));
  Connect(2);
  EXPECT_THAT(Say(2, DeviceHello(0, 2)), ElementsAre(HasSubstr("malformed packet: memory")));
}

TEST_F(SessionCoreTest, RanksAgreeOnWhereAndWhatTheirBuffersAre) {
  SessionCore::Options options;
  options.ranks = 2;
  options.name = "group 3";
  options.device_memory = true;
  core_.emplace(options);
  Connect(1);
  Say(1, DeviceHello(0));
  EXPECT_THAT(Say(1, HalfEntry(0)), ElementsAre(HasSubstr("buffers")));
  EXPECT_EQ(core_->terms().memory, JobMemory::kDevice);
  Connect(2);
  Say(2, HelloPacket(1));
  EXPECT_THAT(Say(2, HalfEntry(0)),
              ElementsAre(HasSubstr("memory: expected the device's as rank 0, got the host's")));
  Connect(3);
  Say(3, DeviceHello(1));
  EXPECT_THAT(Say(3, EntryPacket()),
              ElementsAre(HasSubstr("dtype: expected bfloat16 as rank 0, got float32")));
  Connect(4);
  Say(4, DeviceHello(1, ISTHMUS_DEVICE_MEMORY, 2));
  Say(4, HalfEntry(0));
  EXPECT_THAT(Say(4, HalfEntry(1, ISTHMUS_FLOAT32)),
              ElementsAre(HasSubstr("tensor 'v': expected bfloat16 as all tensors of a job")));
  Connect(5);
  Say(5, DeviceHello(1));
  EXPECT_THAT(Say(5, HalfEntry(0, 2)), ElementsAre(HasSubstr("expected dtype 0 (float32) or 1")));
  Connect(6);
  Say(6, DeviceHello(1));
  EXPECT_THAT(Say(6, HalfEntry(0)), ElementsAre(HasSubstr("buffers")));
}

Packet OwnOptimizerHello(int rank, uint32_t own_optimizer = 1) {
  return HelloPacket(rank, 1, -1, ISTHMUS_HOST_MEMORY, own_optimizer);
}

TEST_F(SessionCoreTest, RanksAgreeOnWhoseOptimizerSteps) {
  Connect(1);
  Say(1, HelloPacket(0));
  EXPECT_THAT(Say(1, EntryPacket()), ElementsAre("buffers to 1 as rank 0"));
  EXPECT_FALSE(core_->terms().own_optimizer);
  Connect(2);
  Say(2, OwnOptimizerHello(1));
  EXPECT_THAT(Say(2, EntryPacket()),
              ElementsAre("hang up on 2: FAILED_PRECONDITION: group 3, rank 1: own_optimizer: "
                          "expected 0 as rank 0, got 1"));
  Die(1);
  Connect(3);
  Say(3, OwnOptimizerHello(1));
  EXPECT_THAT(Say(3, EntryPacket()), ElementsAre("buffers to 3 as rank 1"));
  EXPECT_TRUE(core_->terms().own_optimizer);
  Connect(4);
  Say(4, HelloPacket(0));
  EXPECT_THAT(Say(4, EntryPacket()),
              ElementsAre("hang up on 4: FAILED_PRECONDITION: group 3, rank 0: own_optimizer: "
                          "expected 1 as rank 1, got 0"));
  Connect(5);
  Say(5, OwnOptimizerHello(0));
  EXPECT_THAT(Say(5, EntryPacket()), ElementsAre("buffers to 5 as rank 0"));
  Connect(6);
  EXPECT_THAT(Say(6, OwnOptimizerHello(0, 2)),
              ElementsAre(HasSubstr("INVALID_ARGUMENT: group 3: malformed packet: own_optimizer: "
                                    "expected at most 1, got 2")));
}

TEST_F(SessionCoreTest, HandshakesAreBoundedInTimeAndNumber) {
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_THAT(Connect(id), IsEmpty());
  EXPECT_THAT(Connect(5), ElementsAre(HasSubstr("hang up on 5: RESOURCE_EXHAUSTED")));
  Say(1, HelloPacket(0));
  Say(1, EntryPacket());
  Say(1, BarePacket(ISTHMUS_WIRE_FILLED));
  now_ += absl::Seconds(29);
  EXPECT_THAT(Connect(6), IsEmpty()) << "rank 0 is done, a place is free";
  EXPECT_EQ(core_->NextDeadline(), now_ + absl::Seconds(1));
  now_ += absl::Seconds(1);
  EXPECT_THAT(ToLines(core_->Tick(now_)),
              ElementsAre(HasSubstr("hang up on 2: DEADLINE_EXCEEDED"),
                          HasSubstr("hang up on 3: DEADLINE_EXCEEDED"),
                          HasSubstr("hang up on 4: DEADLINE_EXCEEDED")));
  Die(6);
  EXPECT_EQ(core_->NextDeadline(), absl::InfiniteFuture()) << "a waiting rank is not late";
}

TEST_F(SessionCoreTest, ARankThatNeverFillsItsBuffersLosesItsPlace) {
  Connect(1);
  Say(1, HelloPacket(0));
  Say(1, EntryPacket());
  now_ += absl::Seconds(31);
  EXPECT_THAT(ToLines(core_->Tick(now_)),
              ElementsAre(HasSubstr("DEADLINE_EXCEEDED: group 3, rank 0"), "drop rank 0"));
}

// A random walk: connections that mostly follow the protocol, and at times say anything, damage a
// packet, die or come back. Each whole session is reported lost exactly once.
class RandomWalk {
 public:
  RandomWalk(SessionCore* core, uint32_t seed) : core_(*core), random_(seed) {}

  void Step() {
    const JobConnectionId id(random_() % kConnections);
    now_ += absl::Milliseconds(random_() % 50);
    const uint32_t what = random_() % 64;
    if (what == 0) {
      Perform(core_.Closed(id));
      progress_[id.value()] = kGone;
    } else if (what == 1) {
      Perform(core_.Tick(now_));
    } else if (what < 16) {
      Answer();
    } else if (progress_[id.value()] == kGone) {
      progress_[id.value()] = 0;
      Perform(core_.Connected(id, now_));
    } else {
      Packet packet = what < 18 ? Any() : Next(id);
      if (what == 18) packet[random_() % packet.size()] ^= std::byte(random_());
      Perform(core_.Received(id, packet, now_));
    }
  }
  uint64_t wholes() const { return wholes_; }
  uint64_t steps() const { return steps_; }

 private:
  static constexpr size_t kConnections = 4;
  static constexpr int kGone = -1;

  // What libisthmus would say next on this connection.
  Packet Next(JobConnectionId id) {
    switch (progress_[id.value()]++) {
      case 0:
        return HelloPacket(static_cast<int>(id.value() % 2));
      case 1:
        return EntryPacket();
      case 2:
        return BarePacket(ISTHMUS_WIRE_FILLED);
      default:
        return StepPacket();
    }
  }
  Packet Any() {
    switch (random_() % 5) {
      case 0:
        return HelloPacket(static_cast<int>(random_() % 2));
      case 1:
        return EntryPacket();
      case 2:
        return BarePacket(ISTHMUS_WIRE_FILLED);
      case 3:
        return BarePacket(ISTHMUS_WIRE_DETACH);
      default:
        return StepPacket();
    }
  }
  void Answer() {
    if (attaching_) {
      attaching_ = false;
      Perform(core_.FinishAttach(session_, AttachReply()));
    } else if (stepping_) {
      stepping_ = false;
      Perform(core_.FinishStep(session_, StepReply()));
    }
  }
  void Perform(const SessionCore::Actions& actions) {
    for (const JobAction& action : actions) {
      if (const auto* attached = std::get_if<ReportAttached>(&action)) {
        ASSERT_EQ(session_, 0u);
        session_ = attached->session_id;
        attaching_ = true;
        ++wholes_;
      } else if (const auto* lost = std::get_if<ReportLost>(&action)) {
        ASSERT_EQ(session_, lost->session_id);
        session_ = 0;
        attaching_ = stepping_ = false;
      } else if (const auto* step = std::get_if<ReportStep>(&action)) {
        ASSERT_EQ(session_, step->session_id);
        ASSERT_FALSE(attaching_ || stepping_);
        stepping_ = true;
        ++steps_;
      } else if (const auto* hang_up = std::get_if<HangUp>(&action)) {
        progress_[hang_up->to.value()] = kGone;
      }
    }
  }

  SessionCore& core_;
  std::mt19937 random_;
  absl::Time now_ = absl::UnixEpoch();
  int progress_[kConnections] = {kGone, kGone, kGone, kGone};
  uint64_t session_ = 0;  // the whole one
  bool attaching_ = false;
  bool stepping_ = false;
  uint64_t wholes_ = 0;
  uint64_t steps_ = 0;
};

TEST_F(SessionCoreTest, SurvivesAnything) {
  constexpr uint32_t kSeed = 20240607;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  RandomWalk walk(&*core_, kSeed);
  for (int i = 0; i < 200000 && !HasFatalFailure(); ++i) walk.Step();
  EXPECT_GT(walk.wholes(), 100u) << "the walk reached whole sessions";
  EXPECT_GT(walk.steps(), 100u);
}

}  // namespace
}  // namespace isthmus
