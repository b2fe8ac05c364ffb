#include "tests/server/core/scenario.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>

#include <utility>

#include "common/base/status_macros.h"
#include "common/run/format_schedule.h"
#include "tests/server/core/action_text.h"

namespace isthmus {
namespace {

constexpr char kEvent[] = "> ";
constexpr char kAnswer[] = "  ";
constexpr uint32_t kChunkSize = 64;

Layout LayoutOf(uint32_t buckets) {
  return *Layout::Create({{"w", {static_cast<int64_t>(buckets * kUnitLength)}, DType::kFloat32, 0}},
                         {});
}

const char* Text(Coordinator::State state) {
  switch (state) {
    case Coordinator::State::kWaitingForGroups:
      return "waiting for groups";
    case Coordinator::State::kAgreeing:
      return "agreeing";
    case Coordinator::State::kTraining:
      return "training";
    case Coordinator::State::kWaitingForQuorum:
      return "waiting for quorum";
    case Coordinator::State::kEnded:
      return "ended";
  }
  return "?";
}

}  // namespace

// --- the event loop ----------------------------------------------------------------------------

absl::StatusOr<std::vector<std::string>> Scenario::Perform(const std::string& line) {
  EventWords words(line);
  lines_.clear();
  actions_.clear();
  if (words.name() == "config") {
    Configure(words);
  } else if (core_ == nullptr) {
    return absl::InvalidArgumentError("the first event must be config");
  } else if (words.name() == "wait") {
    Wait(words);
  } else if (words.name() == "status") {
    ReportStatus();
  } else if (words.name() == "restart") {
    Restart();
  } else {
    ISTHMUS_RETURN_IF_ERROR(Control(words));
  }
  ISTHMUS_RETURN_IF_ERROR(words.Check());
  for (const Action& action : actions_) Say(ToText(action));
  return lines_;
}

void Scenario::SayIfError(const absl::Status& status) {
  if (!status.ok()) Say(absl::StrCat("= ", ToText(status)));
}

Member Scenario::MemberOf(EventWords& words) {
  const uint64_t group = words.Number(0);
  return {GroupId(static_cast<uint32_t>(group)),
          Incarnation(words.TakeNumber("incarnation", groups_[group].incarnation))};
}

StreamId Scenario::StreamOf(EventWords& words) {
  return StreamId(words.TakeNumber("stream", groups_[words.Number(0)].stream.value()));
}

absl::Status Scenario::Control(EventWords& words) {
  const std::string& name = words.name();
  if (name == "register") {
    Register(words);
  } else if (name == "ready") {
    Ready(words);
  } else if (name == "join") {
    Register(words);
    Ready(words);
    Open(words);
  } else if (name == "not_ready") {
    const Member member = MemberOf(words);
    const uint64_t change = words.TakeNumber("change", ++groups_[words.Number(0)].change);
    SayIfError(core_->NotReady(member, change, words.Rest(1), now_, actions_));
  } else if (name == "leave") {
    SayIfError(core_->Leave(MemberOf(words), words.Rest(1), now_, actions_));
  } else if (name == "heartbeat") {
    const Member member = MemberOf(words);
    const auto phase = static_cast<WorkPhase>(words.TakeNumber("phase", 0));
    Say(absl::StrCat("= ", ToText(core_->Heartbeat(member, words.TakeNumber("samples", 0), phase,
                                                   now_, actions_))));
  } else {
    return Data(words);
  }
  return absl::OkStatus();
}

absl::Status Scenario::Data(EventWords& words) {
  const std::string& name = words.name();
  if (name == "open") {
    Open(words);
  } else if (name == "close") {
    core_->StreamClosed(StreamOf(words), "cut", now_, actions_);
  } else if (name == "part") {
    Part(words);
  } else if (name == "abstain") {
    SayIfError(core_->Abstained(StreamOf(words), Round(words.TakeNumber("round", 1)),
                                BucketIndex(static_cast<uint32_t>(words.TakeNumber("bucket", 0))),
                                AbstainReason::kNonFinite, now_, actions_));
  } else if (name == "frame") {
    core_->FrameArrived(StreamOf(words), Round(words.TakeNumber("round", 1)), now_, now_, actions_);
  } else if (name == "measured") {
    Measured(words);
  } else if (name == "freeze") {
    core_->Freeze(words.TakeNumber("frozen", 1) != 0, actions_);
  } else if (name == "taken") {
    core_->UpdatesTaken(StreamOf(words), now_, now_);
  } else if (name == "audit") {
    Audit(words);
  } else {
    return Answer(words);
  }
  return absl::OkStatus();
}

absl::Status Scenario::Answer(EventWords& words) {
  const std::string& name = words.name();
  if (name == "merged") {
    core_->Merged(Sequence(words.Number(0)), now_, actions_);
  } else if (name == "appended") {
    core_->Appended(Sequence(words.Number(0)), now_, actions_);
  } else if (name == "logged") {
    core_->Merged(Sequence(words.Number(0)), now_, actions_);
    core_->Appended(Sequence(words.Number(0)), now_, actions_);
  } else if (name == "progress") {
    core_->TransferProgress(TransferId(words.Number(0)), now_);
  } else if (name == "transfer_fails") {
    core_->TransferFailed(TransferId(words.Number(0)), words.Rest(1), now_, actions_);
  } else if (name == "caught_up") {
    const StreamId stream = StreamOf(words);
    const TransferId transfer(words.TakeNumber("transfer", 1));
    const Sequence sequence(words.TakeNumber("sequence", 0));
    const Sequence oldest(words.TakeNumber("oldest", 1));
    SayIfError(core_->CaughtUp(stream, transfer, sequence, oldest, now_, actions_));
  } else {
    return absl::InvalidArgumentError(absl::StrCat("no such event: '", name, "'"));
  }
  return absl::OkStatus();
}

// --- events that need more than one line -------------------------------------------------------

void Scenario::Configure(EventWords& words) {
  CoordinatorConfig config;
  config.run.format.chunk_size = kChunkSize;
  config.run.bucket_length = kUnitLength;
  config.run.start_groups = static_cast<uint32_t>(words.TakeNumber("start_groups", 1));
  config.run.min_groups = static_cast<uint32_t>(words.TakeNumber("min_groups", 1));
  config.run.rounds = words.TakeNumber("rounds", 0);
  // Neither: jobs count.
  config.run.format.every.samples = words.TakeNumber("every_samples", 0);
  config.run.format.every.millis = static_cast<uint64_t>(
      absl::ToInt64Milliseconds(words.TakeDuration("every", absl::ZeroDuration())));
  if (config.run.format.every != Period{}) config.run.format.every.steps = 0;
  const uint64_t donor = words.TakeNumber("initial_donor", 0);
  if (donor != 0) config.run.initial_donor = GroupId(static_cast<uint32_t>(donor));
  config.deadline = words.TakeDuration("deadline", absl::Seconds(60));
  config.reconnect_grace = words.TakeDuration("grace", absl::Seconds(5));
  config.transfer_timeout = words.TakeDuration("transfer_timeout", absl::Seconds(60));
  config.run.audit_rounds = static_cast<uint32_t>(words.TakeNumber("audit_rounds", 0));
  config.max_groups = static_cast<uint32_t>(words.TakeNumber("max_groups", 1024));
  const double target = words.TakeFloat("pace", 0);
  if (target > 0) {
    config.pace = Pacer::Options{.target = target};
    config.run.format.all = DefaultRunSpec(Scheme::kFlexDemo).format.all;
  }
  config.learn_deadline = words.TakeNumber("learn", 0) != 0;
  // "3:k:1,5:k:2" for lines of a schedule, of a flexdemo run.
  const std::string schedule = words.Take("schedule", "");
  if (!schedule.empty()) {
    config.run.format.all = DefaultRunSpec(Scheme::kFlexDemo).format.all;
    const std::string lines = absl::StrReplaceAll(schedule, {{",", "\n"}, {":", " "}, {"/", "="}});
    config.schedule = ParseFormatSchedule(lines, config.run).value();
  }
  config.instance = 7;
  buckets_ = static_cast<uint32_t>(words.TakeNumber("buckets", 1));
  core_ = std::make_unique<Coordinator>(config);
}

void Scenario::Measured(EventWords& words) {
  const GroupId group(static_cast<uint32_t>(words.Number(0)));
  PacedSite site;
  site.path.up = static_cast<double>(words.TakeNumber("up", 1000));
  site.path.down = static_cast<double>(words.TakeNumber("down", 1000));
  site.path.round_trip = words.TakeDuration("round_trip", absl::Milliseconds(20));
  site.compute = words.TakeDuration("compute", absl::Milliseconds(100));
  core_->Measured(group, site);
}

void Scenario::Register(EventWords& words) {
  const uint64_t group = words.Number(0);
  Coordinator::RegisterArgs args;
  args.group = GroupId(static_cast<uint32_t>(group));
  args.nonce = words.TakeNumber("nonce", 1);
  args.instance = words.TakeNumber("instance", 0);
  args.versions.min = args.versions.max =
      static_cast<uint32_t>(words.TakeNumber("version", kProtocolVersions.max));
  args.ranks = static_cast<uint32_t>(words.TakeNumber("ranks", 1));
  const std::string expect = words.Take("expect", "");
  // key=value would be taken apart, so the file says key:value.
  if (!expect.empty()) {
    const std::pair<std::string, std::string> field = absl::StrSplit(expect, ':');
    args.expect.push_back(absl::StrCat(field.first, "=", field.second));
  }
  const auto registered = core_->Register(args, now_, actions_);
  if (!registered.ok()) return SayIfError(registered.status());
  Group& state = groups_[group];
  if (state.incarnation != registered->incarnation.value()) state = Group{};
  state.incarnation = registered->incarnation.value();
  Say(absl::StrCat("= incarnation ", state.incarnation));
}

void Scenario::Ready(EventWords& words) {
  const Member member = MemberOf(words);
  const uint64_t change = words.TakeNumber("change", ++groups_[words.Number(0)].change);
  const auto units = static_cast<uint32_t>(words.TakeNumber("units", buckets_));
  SayIfError(core_->Ready(member, change, LayoutOf(units), now_, actions_));
}

void Scenario::Open(EventWords& words) {
  const Coordinator::Hello hello{MemberOf(words), words.TakeNumber("instance", 7),
                                 Sequence(words.TakeNumber("applied", 0))};
  const Sequence oldest(words.TakeNumber("oldest", 1));
  ++last_stream_;
  const auto next = core_->StreamOpened(last_stream_, hello, oldest, now_, actions_);
  if (!next.ok()) return SayIfError(next.status());
  groups_[words.Number(0)].stream = last_stream_;
  Say(absl::StrCat("= stream ", last_stream_.value(), ", next update ", next->value()));
}

void Scenario::Part(EventWords& words) {
  const StreamId stream = StreamOf(words);
  const Round round(words.TakeNumber("round", 1));
  const BucketIndex bucket(static_cast<uint32_t>(words.TakeNumber("bucket", 0)));
  const uint64_t in_bucket = kUnitLength / core_->formats().At(round).chunk_size;
  const ChunkRun chunks{words.TakeNumber("first", bucket.value() * in_bucket),
                        words.TakeNumber("count", in_bucket)};
  ContributionInfo info;
  info.base_round = Round(words.TakeNumber("base", round.value() - 1));
  info.samples = words.TakeNumber("samples", 1);
  info.loss = words.TakeFloat("loss", 0.5f);
  info.lr = {words.TakeFloat("lr", 0.5f)};
  info.weight_decay = {words.TakeFloat("wd", 0.0f)};
  const auto fate = core_->PartArrived(stream, round, bucket, chunks, info, now_, actions_);
  if (!fate.ok()) return SayIfError(fate.status());
  Say(*fate == Coordinator::PartFate::kStore    ? "= store"
      : *fate == Coordinator::PartFate::kRepeat ? "= repeat"
                                                : "= late");
}

void Scenario::Audit(EventWords& words) {
  const StreamId stream = StreamOf(words);
  const Round round(words.TakeNumber("round", 1));
  BucketHashes hashes;
  const std::string text = words.Take("hashes", "");
  for (const auto part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    uint64_t hash = 0;
    if (!absl::SimpleAtoi(part, &hash)) return Say("= no hash");
    hashes.push_back(hash);
  }
  SayIfError(core_->AuditArrived(stream, round, hashes, now_, actions_));
}

// As the edge does: sleeps until the core wants to be woken, again and again.
void Scenario::Wait(EventWords& words) {
  absl::Duration duration;
  if (!absl::ParseDuration(words.Rest(0), &duration)) return Say("= no duration");
  const absl::Time end = now_ + duration;
  while (now_ < end) {
    now_ = std::min(end, std::max(core_->NextWakeup(), now_ + absl::Milliseconds(1)));
    core_->Tick(now_, actions_);
  }
}

void Scenario::Restart() {
  auto restored = Coordinator::Restore(core_->config(), core_->Save(), now_);
  if (!restored.ok()) return SayIfError(restored.status());
  core_ = std::make_unique<Coordinator>(*std::move(restored));
  for (auto& [id, group] : groups_) group.stream = StreamId();
  Say(absl::StrCat("= as of update ", core_->last_sequence().value(), ", round ",
                   core_->open_round().value()));
}

void Scenario::ReportStatus() {
  Say(absl::StrCat("= ", Text(core_->state(now_)), ", round ", core_->open_round().value()));
  const std::string reason = core_->WaitingReason(now_);
  if (!reason.empty()) Say(absl::StrCat("waits: ", reason));
  if (core_->NextWakeup() != absl::InfiniteFuture()) {
    Say(absl::StrCat("wakes in ", absl::FormatDuration(core_->NextWakeup() - now_)));
  }
  const CoordinatorCounters& counters = core_->counters();
  const std::pair<const char*, uint64_t> all[] = {
      {"rounds committed", counters.rounds_committed},
      {"contributions merged", counters.contributions_merged},
      {"contributions late", counters.contributions_late},
      {"contributions repeated", counters.contributions_repeated},
      {"abstentions", counters.abstentions},
      {"scalar mismatches", counters.scalar_mismatches},
      {"losses left out", counters.losses_left_out},
      {"fenced", counters.fenced},
      {"snapshots", counters.snapshots},
      {"groups silent", counters.groups_silent},
      {"groups too slow", counters.groups_too_slow},
      {"audits", counters.audits},
      {"audit mismatches", counters.audit_mismatches}};
  static_assert(std::size(all) * sizeof(uint64_t) == sizeof(CoordinatorCounters), "all of them");
  for (const auto& [name, value] : all) {
    if (value != 0) Say(absl::StrCat(name, ": ", value));
  }
}

// --- files -------------------------------------------------------------------------------------

absl::StatusOr<std::string> Rewrite(const std::string& text) {
  Scenario scenario;
  std::string out;
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (line.rfind(kAnswer, 0) == 0) continue;
    absl::StrAppend(&out, line, "\n");
    if (line.rfind(kEvent, 0) != 0) {
      if (line.empty() || line[0] == '#') continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "line ", i + 1, ": expected '# ', '> ', two spaces or nothing at its begin"));
    }
    const auto answers = scenario.Perform(line.substr(2));
    if (!answers.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", i + 1, ": ", std::string(answers.status().message())));
    }
    for (const std::string& answer : *answers) absl::StrAppend(&out, kAnswer, answer, "\n");
  }
  return out;
}

}  // namespace isthmus
