#include "cli/rehearse/live_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "cli/base/format.h"

namespace isthmus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Progress Training() {
  Progress progress;
  progress.phase = "training";
  progress.rounds_committed = 75;
  progress.rounds = 300;
  progress.loss = 2.34567;
  progress.samples_per_second = 4321;
  progress.elapsed = absl::Seconds(100);
  progress.sites.push_back({.label = "site-1",
                            .bytes_up = 1'500'000,
                            .bytes_down = 800,
                            .communication_ratio = 0.255,
                            .state = "active"});
  return progress;
}

TEST(RenderProgressTest, ShowsBarFiguresAndSites) {
  EXPECT_THAT(
      RenderProgress(Training(), "tokens", 80),
      ElementsAre("training", "[##########..............................]  25 %  round 75/300",
                  "loss 2.3457   4321 tokens/s   elapsed 1:40   remaining 5:00",
                  "site    up      down   communication  state",
                  "site-1  1.5 MB  800 B  25.5 %         active"));
}

TEST(RenderProgressTest, ShowsOnlyThePhaseBeforeTheFirstRound) {
  Progress progress;
  progress.phase = "waiting for 2 groups: 1 ready";
  EXPECT_THAT(RenderProgress(progress, "tokens", 80), ElementsAre("waiting for 2 groups: 1 ready"));
  EXPECT_EQ(progress.Remaining(), absl::InfiniteDuration());
}

TEST(RenderProgressTest, KeepsToTheWidth) {
  for (const size_t width : {20, 40, 60}) {
    for (const std::string& line : RenderProgress(Training(), "tokens", width)) {
      EXPECT_LE(line.size(), width);
    }
  }
}

TEST(RenderProgressTest, OneLineSaysTheSame) {
  EXPECT_EQ(RenderProgressLine(Training(), "samples"),
            "training 75/300 (25 %), loss 2.3457, 4321 samples/s, 5:00 left; site-1 up 1.5 MB down "
            "800 B communication 25.5 %");
}

TEST(LiveViewTest, PrintsALineEveryFiveSecondsAndAtEachPhase) {
  std::ostringstream out;
  LiveView view(&out, /*terminal=*/false, "tokens");
  absl::Time now = absl::UnixEpoch();
  Progress progress;
  progress.phase = "starting";
  view.Show(progress, now);
  view.Show(progress, now + absl::Seconds(4));
  EXPECT_EQ(out.str(), "starting\n");
  view.Show(progress, now + absl::Seconds(5));
  EXPECT_EQ(out.str(), "starting\nstarting\n");
  progress.phase = "training";
  view.Show(progress, now + absl::Seconds(6));
  EXPECT_EQ(out.str(), "starting\nstarting\ntraining\n");
  EXPECT_THAT(out.str(), Not(HasSubstr("\x1b")));
}

TEST(LiveViewTest, RedrawsInPlaceOnATerminal) {
  std::ostringstream out;
  LiveView view(&out, /*terminal=*/true, "tokens");
  Progress progress;
  progress.phase = "starting";
  view.Show(progress, absl::UnixEpoch());
  view.Show(progress, absl::UnixEpoch());
  EXPECT_EQ(out.str(), "starting\n\x1b[1F\x1b[Jstarting\n");
  view.Release();
  view.Note("stays");
  EXPECT_EQ(out.str(), "starting\n\x1b[1F\x1b[Jstarting\nstays\n");
}

TEST(FormatTest, NumbersAsPeopleReadThem) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(999.7), "1.0 kB");
  EXPECT_EQ(FormatBytes(4'200'000), "4.2 MB");
  EXPECT_EQ(FormatBytes(3e12), "3.0 TB");
  EXPECT_EQ(FormatRate(0), "-");
  EXPECT_EQ(FormatRate(80'000), "640 kbit/s");
  EXPECT_EQ(FormatRate(1'225'000), "9.8 Mbit/s");
  EXPECT_EQ(FormatRate(12'496'000), "100 Mbit/s");
  EXPECT_EQ(FormatRate(200e6), "1.6 Gbit/s");
  EXPECT_EQ(FormatSeconds(0), "-");
  EXPECT_EQ(FormatSeconds(0.0005), "500 us");
  EXPECT_EQ(FormatSeconds(0.04321), "43.2 ms");
  EXPECT_EQ(FormatSeconds(1.7), "1.70 s");
  EXPECT_EQ(FormatElapsed(absl::Seconds(7)), "0:07");
  EXPECT_EQ(FormatElapsed(absl::Seconds(3 * 3600 + 62)), "3:01:02");
  EXPECT_EQ(FormatElapsed(absl::InfiniteDuration()), "-");
}

}  // namespace
}  // namespace isthmus
