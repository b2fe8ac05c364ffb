// Three machines, of 1, 2 and 1 ranks: what they say in, actions out.
#include "worker/site/site_core.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <utility>

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// "bind 10 at 1", "answer step of 11 at 1": actions as tests want to read them.
std::string Describe(const SiteAction& action) {
  struct Visitor {
    std::string operator()(const BindSession& a) {
      return absl::StrCat("bind ", a.session, " of ", a.machine, " to ", a.group_session);
    }
    std::string operator()(const AnswerAttach& a) {
      return absl::StrCat("attached ", a.session, " of ", a.machine, " from rank ",
                          a.reply.first_rank);
    }
    std::string operator()(const AnswerStep& a) {
      return absl::StrCat("done ", a.session, " of ", a.machine);
    }
    std::string operator()(const EndPart& a) {
      return absl::StrCat("end ", a.session, " of ", a.machine, ": ", a.status.ToString());
    }
    std::string operator()(const SiteAttached& a) {
      return absl::StrCat("session ", a.group_session);
    }
    std::string operator()(const SiteStepped& a) {
      return absl::StrCat("step of ", a.group_session, ", ranks ", a.steps.size());
    }
    std::string operator()(const SiteLost& a) {
      return absl::StrCat("lost ", a.group_session, ": ", a.reason);
    }
  };
  return std::visit(Visitor(), action);
}

Layout Model(int64_t size, DType dtype = DType::kFloat32) {
  return *Layout::Create({{.name = "w", .shape = {size}, .dtype = dtype}}, {});
}

std::vector<RankStep> Steps(size_t ranks, float lr = 0.5f) {
  return std::vector<RankStep>(
      ranks, {.lr = {lr}, .weight_decay = {0.0f}, .samples = 3, .loss = 1, .skip = false});
}

class SiteCoreTest : public testing::Test {
 protected:
  using Lines = std::vector<std::string>;
  static Lines ToLines(const SiteCore::Actions& actions) {
    Lines lines;
    for (const SiteAction& action : actions) lines.push_back(Describe(action));
    return lines;
  }
  Lines Attach(uint32_t machine, uint64_t session, const Layout& layout = Model(100)) {
    return ToLines(core_.Attached(machine, session, layout));
  }
  // By default with the ranks that the machine has.
  Lines StepOf(uint32_t machine, uint64_t session, float lr = 0.5f) {
    const auto actions = core_.Stepped(machine, session, Steps(machine == 1 ? 2 : 1, lr));
    if (!actions.ok()) return {actions.status().ToString()};
    return ToLines(*actions);
  }
  // Sessions 5, 6 and 7; whole and answered.
  void AttachAll() {
    Attach(0, 5);
    Attach(1, 6);
    Attach(2, 7);
    core_.FinishAttach(5, AttachReply());
  }

  SiteCore core_{{.ranks = {1, 2, 1}, .name = "group 3"}};
};

TEST_F(SiteCoreTest, IsWholeOnceAllHaveAttached) {
  EXPECT_THAT(Attach(1, 6), IsEmpty());
  EXPECT_THAT(Attach(0, 5), IsEmpty());
  EXPECT_THAT(Attach(2, 7),
              ElementsAre("bind 5 of 0 to 5", "bind 6 of 1 to 5", "bind 7 of 2 to 5", "session 5"));
  EXPECT_THAT(ToLines(core_.FinishAttach(5, AttachReply())),
              ElementsAre("attached 5 of 0 from rank 0", "attached 6 of 1 from rank 1",
                          "attached 7 of 2 from rank 3"));
}

TEST_F(SiteCoreTest, AStepIsWholeOnceAllHaveBegunIt) {
  AttachAll();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(StepOf(2, 7), IsEmpty());
    EXPECT_THAT(StepOf(0, 5), IsEmpty());
    EXPECT_THAT(StepOf(1, 6), ElementsAre("step of 5, ranks 4"));
    EXPECT_THAT(ToLines(core_.FinishStep(5, StepReply())),
                ElementsAre("done 5 of 0", "done 6 of 1", "done 7 of 2"));
  }
}

TEST_F(SiteCoreTest, BeforeItIsWholePartsComeAndGo) {
  Attach(0, 5);
  Attach(1, 6);
  EXPECT_THAT(ToLines(core_.Lost(0, 5, "died")), IsEmpty());
  EXPECT_THAT(Attach(2, 7), IsEmpty());
  EXPECT_EQ(Attach(0, 8).back(), "session 8");
}

TEST_F(SiteCoreTest, TheFirstToLeaveEndsItForAll) {
  AttachAll();
  StepOf(0, 5);
  EXPECT_THAT(ToLines(core_.Lost(1, 6, "machine 1: rank 0: died")),
              ElementsAre("end 5 of 0: ABORTED: machine 1: rank 0: died",
                          "end 7 of 2: ABORTED: machine 1: rank 0: died",
                          "lost 5: machine 1: rank 0: died"));
  // What is still on its way from or to the old session changes nothing.
  EXPECT_THAT(StepOf(2, 7), IsEmpty());
  EXPECT_THAT(ToLines(core_.Lost(0, 5, "sent away")), IsEmpty());
  EXPECT_THAT(ToLines(core_.FinishStep(5, StepReply())), IsEmpty());
  Attach(0, 15);
  Attach(1, 16);
  EXPECT_EQ(Attach(2, 17).back(), "session 15");
}

TEST_F(SiteCoreTest, WhoAttachesAnewHasLeft) {
  AttachAll();
  EXPECT_THAT(Attach(1, 16),
              ElementsAre("end 5 of 0: ABORTED: attached anew",
                          "end 7 of 2: ABORTED: attached anew", "lost 5: attached anew"));
}

TEST_F(SiteCoreTest, AnotherModelIsTheFaultOfWhoComesLater) {
  Attach(2, 7);
  EXPECT_THAT(Attach(1, 6, Model(200)),
              ElementsAre(HasSubstr("end 6 of 1: FAILED_PRECONDITION: group 3, machine 1: layout "
                                    "unlike that of machine 2")));
  EXPECT_THAT(Attach(1, 8, Model(100, DType::kBFloat16)),
              ElementsAre("end 8 of 1: FAILED_PRECONDITION: group 3, machine 1: dtype: expected "
                          "float32 as machine 2, got bfloat16"));
  Attach(1, 9);
  EXPECT_EQ(Attach(0, 5).back(), "session 5");
}

TEST_F(SiteCoreTest, OtherRatesEndIt) {
  AttachAll();
  StepOf(0, 5);
  StepOf(1, 6);
  EXPECT_THAT(StepOf(2, 7, 0.25f),
              ElementsAre("end 7 of 2: INVALID_ARGUMENT: group 3, machine 2: lr[0]: expected "
                          "machine 0's 0.5, got 0.25",
                          HasSubstr("end 5 of 0: ABORTED: group 3: the session ended: machine 2"),
                          HasSubstr("end 6 of 1: ABORTED"), HasSubstr("lost 5")));
}

TEST_F(SiteCoreTest, TheEngineEndsIt) {
  AttachAll();
  EXPECT_THAT(ToLines(core_.FinishStep(5, absl::InternalError("no"))),
              ElementsAre("end 5 of 0: INTERNAL: no", "end 6 of 1: INTERNAL: no",
                          "end 7 of 2: INTERNAL: no", "lost 5: no"));
  Attach(1, 8);
  EXPECT_THAT(ToLines(core_.EndSession(absl::AbortedError("leaving"))),
              ElementsAre("end 8 of 1: ABORTED: leaving"));
}

TEST_F(SiteCoreTest, AMachineThatDoesNotCountRightIsTold) {
  AttachAll();
  EXPECT_THAT(core_.Stepped(1, 6, Steps(1)).status().ToString(),
              HasSubstr("machine 1: expected steps of 2 ranks, got 1"));
  std::vector<RankStep> steps = Steps(2);
  steps[1].lr.clear();
  EXPECT_THAT(core_.Stepped(1, 6, steps).status().ToString(),
              HasSubstr("machine 1: expected rates of 1 parameter groups, got 0 and 1"));
  StepOf(1, 6);
  EXPECT_THAT(StepOf(1, 6), ElementsAre(HasSubstr("a step before the last was answered")));
}

// Whatever machines do in whatever order: each session that the engine hears of is lost exactly
// once, steps come one at a time within one, and nothing is asked of a part that is not there.
TEST(SiteCoreRandomTest, ReportsAreInOrder) {
  size_t sessions_seen = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    SiteCore core({.ranks = {1, 2, 1}, .name = "group 3"});
    uint64_t sessions[3] = {0, 0, 0};  // of machines, as they see it; 0: none
    bool answered[3] = {};             // they may step
    uint64_t next_session = 1, open = 0;
    bool stepping = false, attaching = false;
    std::set<uint64_t> seen;
    const auto perform = [&](const SiteCore::Actions& actions) {
      for (const SiteAction& action : actions) {
        if (const auto* a = std::get_if<SiteAttached>(&action)) {
          ASSERT_EQ(open, 0u);
          ASSERT_TRUE(seen.insert(a->group_session).second);
          open = a->group_session;
          attaching = true;
        } else if (const auto* s = std::get_if<SiteStepped>(&action)) {
          ASSERT_EQ(s->group_session, open);
          ASSERT_FALSE(stepping || attaching);
          ASSERT_EQ(s->steps.size(), 4u);
          stepping = true;
        } else if (const auto* l = std::get_if<SiteLost>(&action)) {
          ASSERT_EQ(l->group_session, open);
          open = 0;
          stepping = attaching = false;
        } else if (const auto* e = std::get_if<EndPart>(&action)) {
          if (sessions[e->machine] == e->session) sessions[e->machine] = 0;
        } else if (const auto* aa = std::get_if<AnswerAttach>(&action)) {
          ASSERT_EQ(sessions[aa->machine], aa->session);
          answered[aa->machine] = true;
        } else if (const auto* as = std::get_if<AnswerStep>(&action)) {
          ASSERT_EQ(sessions[as->machine], as->session);
          answered[as->machine] = true;
        }
      }
    };
    for (int i = 0; i < 1000 && !testing::Test::HasFatalFailure(); ++i) {
      const uint32_t machine = below(3);
      const uint32_t what = below(12);
      if (what < 5 && sessions[machine] == 0) {
        sessions[machine] = next_session++;
        answered[machine] = false;
        perform(core.Attached(machine, sessions[machine], Model(below(20) == 0 ? 200 : 100)));
      } else if (what < 9 && sessions[machine] != 0 && answered[machine]) {
        answered[machine] = false;
        const auto actions = core.Stepped(machine, sessions[machine],
                                          Steps(machine == 1 ? 2 : 1, below(30) == 0 ? 1.f : 2.f));
        ASSERT_TRUE(actions.ok()) << actions.status();
        perform(*actions);
      } else if (what == 9 && sessions[machine] != 0 && below(3) == 0) {
        const uint64_t left = std::exchange(sessions[machine], 0);
        perform(core.Lost(machine, left, "left"));
      } else if (what >= 10 && attaching) {
        attaching = false;
        perform(core.FinishAttach(open, AttachReply()));
      } else if (what >= 10 && stepping) {
        stepping = false;
        perform(below(20) == 0 ? core.FinishStep(open, absl::InternalError("no"))
                               : core.FinishStep(open, StepReply()));
      }
    }
    sessions_seen += seen.size();
  }
  EXPECT_GT(sessions_seen, 3000u);
}

}  // namespace
}  // namespace isthmus
