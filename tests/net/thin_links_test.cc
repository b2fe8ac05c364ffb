// A coordinator and two sites over real TCP, as thin links carry it.
#include "tests/net/thin_links.h"

#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

namespace isthmus::net {
namespace {

constexpr int kSkipped = 77;  // as tests/net/CMakeLists.txt tells CTest
constexpr absl::Duration kPatience = absl::Minutes(4);

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/isthmus-net-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Case {
  const char* link;
  double loss;
  const char* scheme;
};

class ThinLinksTest : public testing::TestWithParam<Case> {};

TEST_P(ThinLinksTest, TwoSitesHoldTheSameParametersAndTheLinkWasFelt) {
  constexpr uint64_t kParameters = 100'000;
  constexpr uint64_t kSteps = 5;
  const auto links = ThinLinks::Create(
      {.link = *ParseLinkSpec(GetParam().link), .sites = 2, .loss = GetParam().loss});
  ASSERT_TRUE(links.ok()) << links.status();
  Folder folder;
  Deployment run(**links, folder.path(),
                 {.parameters = kParameters,
                  .steps = kSteps,
                  .coordinator_flags = {"--scheme", GetParam().scheme}});
  std::vector<nlohmann::json> done;
  for (const std::string& line : run.AwaitDone(kPatience)) {
    done.push_back(nlohmann::json::parse(line));
  }
  EXPECT_EQ(done[0]["hash"], done[1]["hash"]);
  // A step is a way up and a way down; the first may overlap with the wait for the other site.
  ASSERT_EQ(done[1]["step_seconds"].size(), kSteps);
  for (size_t i = 1; i < kSteps; ++i) EXPECT_GE(done[1]["step_seconds"][i], 0.080);
  // Both saw how fast that was.
  const LinkSpec link = *ParseLinkSpec(GetParam().link);
  nlohmann::json groups;  // once the second site has reported the last round
  for (int asked = 0; asked < 1000; ++asked) {
    groups = nlohmann::json::parse(run.Status())["groups"];
    if (groups[1]["heartbeat"]["hash_round"] == std::to_string(kSteps)) break;
  }
  for (const auto& [rate, seen] :
       {std::pair(link.up_bits_per_second, groups[0]["up"]),
        std::pair(link.down_bits_per_second, groups[1]["heartbeat"]["down"])}) {
    EXPECT_GT(seen["bytes_per_second"], 0) << seen;
    EXPECT_LT(seen["bytes_per_second"], rate / 8 * 4) << seen;
  }
  EXPECT_GT(groups[0]["round_trip_seconds"], 0.080);
  // The parameters went up at one site and down at the other.
  EXPECT_GT((*links)->relay(0).up().bytes, kParameters * sizeof(float));
  EXPECT_GT((*links)->relay(1).down().bytes, kParameters * sizeof(float));
  if (GetParam().loss > 0) {
    EXPECT_GT((*links)->relay(0).up().lost, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Links, ThinLinksTest,
                         testing::Values(Case{"20mbit/40ms", 0, "flexdemo"},
                                         Case{"20mbit:5mbit/40ms", 0.01, "full"}),
                         [](const auto& at) { return std::string(at.param.scheme); });

TEST(NetNamespaceTest, SitesMeetOnlyThroughTheHub) {
  const auto links = ThinLinks::Create({.link = *ParseLinkSpec("none"), .sites = 2});
  ASSERT_TRUE(links.ok()) << links.status();
  Folder folder;
  const auto connects = [&](const NetNamespace& from, const std::string& address) {
    NetProgram program(from,
                       {"/bin/bash", "-c", absl::StrCat("exec 3<>/dev/tcp/", address, "/9 2>&1")},
                       folder.path() + "/connect.log");
    program.Await(absl::Minutes(1));
    return program.Output();
  };
  // Nobody listens, but a packet has gone there and back.
  EXPECT_NE(connects((*links)->site(0), ThinLinks::HubAddress(0)).find("refused"),
            std::string::npos);
  EXPECT_NE(connects((*links)->site(0), ThinLinks::HubAddress(1)).find("unreachable"),
            std::string::npos);
}

}  // namespace
}  // namespace isthmus::net

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const absl::Status usable = isthmus::net::CheckCanUseNamespaces();
  if (!usable.ok()) {
    std::cout << "skipped: network namespaces and packet devices need root (" << usable.message()
              << ")" << std::endl;
    return isthmus::net::kSkipped;
  }
  return RUN_ALL_TESTS();
}
