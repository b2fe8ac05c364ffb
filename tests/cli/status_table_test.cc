#include "cli/status/status_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace isthmus {
namespace {

using ::testing::HasSubstr;

v1::GetStatusReply Example() {
  v1::GetStatusReply status;
  status.set_instance(0xabc);
  status.set_epoch(3);
  status.set_state(v1::GetStatusReply::WAITING_FOR_QUORUM);
  status.set_waiting_reason("waiting for quorum: 1 of 2 groups can answer");
  status.set_round(12);
  status.set_rounds_committed(11);
  status.set_loss(2.5);
  status.set_buckets(8);
  status.mutable_run()->set_scheme("flexdemo");
  status.mutable_run()->set_chunk_size(64);
  status.mutable_run()->set_k(4);
  status.mutable_run()->set_rounds(300);
  v1::GroupStatus* group = status.add_groups();
  group->set_group_id(2);
  group->set_label("site-2");
  group->set_state("gone");
  group->set_bytes_up(1'234'567);
  group->set_contributions_late(987);
  group->set_last_event("stream broken");
  group->mutable_up()->set_bytes_per_second(1'225'000);
  group->mutable_up()->set_samples(6);
  group->set_round_trip_seconds(0.0812);
  group->mutable_heartbeat()->mutable_down()->set_bytes_per_second(25e6);
  group->mutable_heartbeat()->mutable_down()->set_at_least(true);
  group->mutable_heartbeat()->set_steps(11);
  group->mutable_heartbeat()->set_step_seconds(0.25);
  group->mutable_heartbeat()->set_communication_ratio(0.125);
  return status;
}

TEST(StatusTableTest, SaysWhereTheRunStandsAndWhy) {
  const std::string table = FormatStatusTable(Example());
  EXPECT_THAT(table, HasSubstr("flexdemo, chunk 64, k 4"));
  EXPECT_THAT(table, HasSubstr("0000000000000abc, epoch 3"));
  EXPECT_THAT(table, HasSubstr("waiting for quorum: 1 of 2 groups can answer"));
  EXPECT_THAT(table, HasSubstr("12 of 300, 11 committed, loss 2.5000"));
}

TEST(StatusTableTest, SaysWhatThePaceDecided) {
  v1::GetStatusReply status = Example();
  v1::PaceStatus* pace = status.mutable_pace();
  pace->set_reason("unmeasured");
  EXPECT_THAT(FormatStatusTable(status), HasSubstr("unmeasured"));
  v1::PastRound* round = status.add_rounds();
  round->set_chunk_size(128);
  round->set_k(1);
  round->set_every("30 steps");
  pace->set_reason("best");
  pace->set_target_met(true);
  pace->set_exchange_seconds(0.5);
  pace->set_communication_ratio(0.08);
  pace->set_step_seconds(2);
  EXPECT_THAT(
      FormatStatusTable(status),
      HasSubstr("1 of 128, best: an exchange in 500.0 ms expected, 8.0 % of a step of 2.00 s\n"));
  pace->set_target_met(false);
  status.mutable_run()->set_scheme("local");
  EXPECT_THAT(FormatStatusTable(status), HasSubstr("every 30 steps, best: "));
  EXPECT_THAT(FormatStatusTable(status), HasSubstr("; no plan comes within the target"));
}

TEST(StatusTableTest, SaysWhatTheAuditFound) {
  v1::GetStatusReply status = Example();
  EXPECT_THAT(FormatStatusTable(status), HasSubstr("off"));
  status.mutable_run()->set_audit_rounds(25);
  status.set_audits(4);
  status.set_audit_mismatches(1);
  EXPECT_THAT(FormatStatusTable(status),
              HasSubstr("every 25 rounds: 4 compared, 1 states differed"));
  EXPECT_THAT(FormatStatusJson(status, /*pretty=*/false), HasSubstr("\"audit_mismatches\":\"1\""));
}

TEST(StatusTableTest, HasARowPerGroup) {
  const std::string table = FormatStatusTable(Example());
  for (const char* cell : {"site-2", "gone", "0/8", "987", "1.2 MB", "12.5 %", "250.0 ms",
                           "stream broken", "  9.8 Mbit/s", ">= 200 Mbit/s", "81.2 ms"}) {
    EXPECT_THAT(table, HasSubstr(cell));
  }
  EXPECT_THAT(FormatStatusTable({}), HasSubstr("no group has registered yet"));
}

TEST(StatusJsonTest, KeepsFieldNamesAndZeros) {
  const std::string json = FormatStatusJson(Example(), /*pretty=*/false);
  EXPECT_THAT(json, HasSubstr("\"rounds_committed\":\"11\""));
  EXPECT_THAT(json, HasSubstr("\"contributions_late\":\"0\""));
  EXPECT_THAT(json, HasSubstr("\"state\":\"WAITING_FOR_QUORUM\""));
  EXPECT_EQ(json.find('\n'), json.size() - 1);
}

TEST(StatusTableTest, ControlCharactersOfPeersDoNotReachATerminal) {
  v1::GetStatusReply status = Example();
  status.set_waiting_reason("waits\x1b]0;owned\x07");
  status.mutable_groups(0)->set_label("a\x1b[31m\nb");
  status.mutable_groups(0)->set_last_event("left\r\x1b[2J");
  status.mutable_groups(0)->mutable_heartbeat()->set_waiting(
      "\xC2\x9B"
      "2J");
  const std::string table = FormatStatusTable(status);
  EXPECT_THAT(table, HasSubstr("a?[31m?b"));
  EXPECT_THAT(table, HasSubstr("left??[2J"));
  for (const char c : {'\x1b', '\x07', '\r', '\x9B'})
    EXPECT_EQ(table.find(c), std::string::npos) << int{c};
  // JSON escapes what a terminal would obey.
  for (const bool pretty : {false, true}) {
    const std::string json = FormatStatusJson(status, pretty);
    for (const char c : {'\x1b', '\x07', '\r', '\x9B'})
      EXPECT_EQ(json.find(c), std::string::npos) << int{c};
  }
}

TEST(StatusTableTest, ConnectionsAreCounted) {
  v1::GetStatusReply status;
  status.mutable_connections()->set_taken(70);
  status.mutable_connections()->set_turned_away(34);
  EXPECT_THAT(FormatStatusTable(status), HasSubstr("70 taken, 34 turned away\n"));
  status.mutable_connections()->set_listener_reopened(1);
  EXPECT_THAT(FormatStatusTable(status), HasSubstr("turned away, listener reopened 1 times"));
}

}  // namespace
}  // namespace isthmus
