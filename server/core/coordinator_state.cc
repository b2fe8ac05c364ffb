#include "server/core/coordinator_state.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/tensor/buckets.h"

namespace isthmus {
namespace {

template <typename Expected, typename Actual>
absl::Status Wrong(const std::string& what, const Expected& expected, const Actual& actual) {
  return absl::InvalidArgumentError(
      absl::StrCat("coordinator state: ", what, ": expected ", expected, ", got ", actual));
}

// Rounds whose updates are all in the log.
uint64_t RoundsCommitted(const CoordinatorState& state) {
  if (state.round == Round(0)) return 0;
  const bool ended = std::ranges::all_of(
      state.buckets, [](const BucketRecord& b) { return b.sequence.has_value(); });
  return state.round.value() - (ended ? 0 : 1);
}

const GroupRecord* Find(const CoordinatorState& state, GroupId id) {
  const auto at = std::ranges::lower_bound(state.groups, id, {}, &GroupRecord::id);
  return at == state.groups.end() || at->id != id ? nullptr : &*at;
}

absl::Status CheckProcesses(const GroupRecord& group, const std::string& who) {
  if (group.incarnation == Incarnation(0)) return Wrong(who + " incarnation", "1 or more", 0);
  if (group.nonce == 0) return Wrong(who + " nonce", "non-zero", 0);
  if (group.ranks == 0) return Wrong(who + " ranks", "at least 1", 0);
  if (group.label.size() > kMaxLabelBytes) {
    return Wrong(who + " label", absl::StrCat("at most ", kMaxLabelBytes, " bytes"),
                 group.label.size());
  }
  const uint64_t fenced = std::min<uint64_t>(group.incarnation.value() - 1, kMaxPastNonces);
  if (group.past_nonces.size() != fenced) {
    return Wrong(who + " nonces of fenced processes", fenced, group.past_nonces.size());
  }
  for (const uint64_t past : group.past_nonces) {
    if (past != 0 && past != group.nonce) continue;
    return Wrong(who + " nonce of a fenced process", "another than 0 and its own", past);
  }
  return absl::OkStatus();
}

absl::Status CheckGroup(const CoordinatorState& state, const GroupRecord& group) {
  const std::string who = absl::StrCat("group ", group.id.value());
  ISTHMUS_RETURN_IF_ERROR(CheckProcesses(group, who));
  if (group.ready && group.left) return Wrong(who, "ready or gone", "both");
  if ((group.ready || group.in_sync) && !state.layout) {
    return Wrong(who, "neither ready nor in sync before there is a layout", "either");
  }
  if (group.resync && group.in_sync) return Wrong(who, "in sync or to be mended", "both");
  if (group.synced_at > state.last_sequence) {
    return Wrong(who + " snapshot's sequence",
                 absl::StrCat("at most ", state.last_sequence.value()), group.synced_at.value());
  }
  const Round judged = std::max(group.agreed, group.resync.value_or(Round(0)));
  if (judged.value() > RoundsCommitted(state)) {
    return Wrong(who + " audited round", absl::StrCat("at most ", RoundsCommitted(state)),
                 judged.value());
  }
  if (group.too_slow > state.round) {
    return Wrong(who + " too slow in round", absl::StrCat("at most ", state.round.value()),
                 group.too_slow->value());
  }
  if (!group.source) return absl::OkStatus();
  const GroupRecord* const source = Find(state, group.source->group);
  if (source == nullptr || group.source->incarnation > source->incarnation) {
    return Wrong(who + " snapshot's source", "a process that has registered",
                 absl::StrCat("group ", group.source->group.value(), " incarnation ",
                              group.source->incarnation.value()));
  }
  return absl::OkStatus();
}

absl::Status CheckGroups(const CoordinatorState& state) {
  for (size_t i = 0; i < state.groups.size(); ++i) {
    if (i > 0 && state.groups[i].id <= state.groups[i - 1].id) {
      return Wrong("groups", "ascending ids", state.groups[i].id.value());
    }
  }
  for (const GroupRecord& group : state.groups) {
    ISTHMUS_RETURN_IF_ERROR(CheckGroup(state, group));
  }
  for (const GroupId id : state.awaited) {
    const GroupRecord* const group = Find(state, id);
    if (group != nullptr && group->ready && !group->silent) continue;
    return Wrong("awaited groups", "ones that are ready and not silent", id.value());
  }
  return absl::OkStatus();
}

absl::Status CheckBeforeTraining(const CoordinatorState& state) {
  for (const BucketRecord& bucket : state.buckets) {
    if (bucket == BucketRecord{}) continue;
    return Wrong("updates before training", "none", "some");
  }
  if (!state.awaited.empty()) {
    return Wrong("awaited groups before training", 0, state.awaited.size());
  }
  if (state.last_sequence == Sequence(0)) return absl::OkStatus();
  return Wrong("last sequence before training", 0, state.last_sequence.value());
}

// Updates have one sequence without gaps, and every round has one of each bucket: so many are in
// the log as the open round says.
absl::Status CheckOpenRound(const CoordinatorState& state) {
  const uint64_t count = state.buckets.size();
  const uint64_t before = state.round.value() - 1;
  if (before > (uint64_t{1} << 62) / count) {
    return Wrong("round", "one that can be reached", state.round.value());
  }
  std::set<Sequence> open;
  for (const BucketRecord& bucket : state.buckets) {
    if (bucket.sequence && !open.insert(*bucket.sequence).second) {
      return Wrong("updates of the open round", "a sequence each", bucket.sequence->value());
    }
    const uint64_t most = before + (bucket.sequence ? 1 : 0);
    if (bucket.commits > most) {
      return Wrong("commits of a bucket", absl::StrCat("at most ", most), bucket.commits);
    }
  }
  const uint64_t first = before * count + 1;
  if (!open.empty() && *open.begin() != Sequence(first)) {
    return Wrong("first update of the open round", first, open.begin()->value());
  }
  const uint64_t last = before * count + open.size();
  if (!open.empty() && *open.rbegin() != Sequence(last)) {
    return Wrong("newest update of the open round", last, open.rbegin()->value());
  }
  if (state.last_sequence != Sequence(last)) {
    return Wrong("last sequence", last, state.last_sequence.value());
  }
  if (open.size() == count && state.round != Round(state.run.rounds)) {
    return Wrong("updates of the open round", absl::StrCat("fewer than ", count), open.size());
  }
  return absl::OkStatus();
}

absl::Status CheckBuckets(const CoordinatorState& state) {
  uint64_t count = 0;
  if (state.layout) {
    ISTHMUS_ASSIGN_OR_RETURN(const Buckets buckets,
                             Buckets::Create(state.layout->length(), state.run.bucket_length));
    count = buckets.count();
  }
  if (state.buckets.size() != count) return Wrong("buckets", count, state.buckets.size());
  if (state.round == Round(0)) return CheckBeforeTraining(state);
  if (count == 0) return Wrong("layout", "one, since the run has started", "none");
  if (state.run.rounds != 0 && state.round > Round(state.run.rounds)) {
    return Wrong("round", absl::StrCat("at most ", state.run.rounds), state.round.value());
  }
  return CheckOpenRound(state);
}

absl::Status CheckAudits(const CoordinatorState& state) {
  if (state.audits.size() > kMaxAudits) {
    return Wrong("audits", absl::StrCat("at most ", kMaxAudits), state.audits.size());
  }
  const uint64_t every = state.run.audit_rounds;
  for (const auto& [round, audit] : state.audits) {
    const std::string what = absl::StrCat("audit of round ", round.value());
    if (every == 0 || round == Round(0) || round.value() % every != 0 ||
        round.value() > RoundsCommitted(state)) {
      return Wrong(
          what,
          absl::StrCat("a multiple of audit_rounds ", every, ", at most ", RoundsCommitted(state)),
          round.value());
    }
    const uint64_t sequence = round.value() * state.buckets.size();
    if (audit.sequence != Sequence(sequence)) {
      return Wrong(what + " sequence", sequence, audit.sequence.value());
    }
    const size_t hashes = audit.decided ? state.buckets.size() : 0;
    if (!audit.right.empty() && audit.right.size() != hashes) {
      return Wrong(what + " hashes", hashes, audit.right.size());
    }
    for (const auto& [id, incarnation] : audit.expected) {
      const GroupRecord* const group = Find(state, id);
      if (group != nullptr && incarnation <= group->incarnation) continue;
      return Wrong(what + " reports", "of processes that have registered",
                   absl::StrCat("group ", id.value(), " incarnation ", incarnation.value()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

namespace {

absl::Status CheckFormats(const CoordinatorState& state) {
  if (!state.formats.empty() && state.formats.front().from != state.round) {
    return Wrong("formats", absl::StrCat("those of round ", state.round.value(), " first"),
                 state.formats.front().from.value());
  }
  RoundFormats known(state.run);
  for (const FormatChange& change : state.formats) {
    if (change.from < state.round || change.from > state.round.next().next()) {
      return Wrong("formats", absl::StrCat("of round ", state.round.value(), " to two later"),
                   change.from.value());
    }
    const absl::Status follows = CheckFollows(state.run, known, change, Round(0));
    if (!follows.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("coordinator state: ", std::string(follows.message())));
    }
    known.Change(change);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Check(const CoordinatorState& state) {
  if (state.instance == 0) return Wrong("instance", "non-zero", 0);
  if (state.epoch == Epoch(0)) return Wrong("epoch", "1 or more", 0);
  ISTHMUS_RETURN_IF_ERROR(Validate(state.run));
  ISTHMUS_RETURN_IF_ERROR(CheckBuckets(state));
  ISTHMUS_RETURN_IF_ERROR(CheckFormats(state));
  if (state.counters.rounds_committed != RoundsCommitted(state)) {
    return Wrong("rounds committed", RoundsCommitted(state), state.counters.rounds_committed);
  }
  ISTHMUS_RETURN_IF_ERROR(CheckGroups(state));
  return CheckAudits(state);
}

}  // namespace isthmus
