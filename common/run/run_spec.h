// The run spec: what all groups of a run do alike. Lives on the coordinator and is sent to workers.
#ifndef ISTHMUS_COMMON_RUN_RUN_SPEC_H_
#define ISTHMUS_COMMON_RUN_RUN_SPEC_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/ids.h"
#include "common/compression/formats.h"
#include "common/optimizer/optimizer.h"
#include "common/run/round_format.h"

namespace isthmus {

// The replicator of a run. kNone exchanges nothing: groups train apart, which is what the others
// are compared with. With kLocal jobs step by themselves, and groups exchange how far they have
// gone now and then; the others exchange every step.
enum class Scheme : uint8_t {
  kFlexDemo = 0,
  kFull = 1,
  kRandom = 2,
  kStriding = 3,
  kSlicing = 4,
  kNone = 5,
  kLocal = 6
};

// What of the momentum, or of scheme local's residual, crosses: all of it; the largest of each
// chunk, of its transform or of itself; or elements that all groups know.
enum class SelectionKind : uint8_t {
  kDense = 0,
  kDct = 1,
  kTopK = 2,
  kRandom = 3,
  kStriding = 4,
  kSlicing = 5
};

// What a run never changes, and the format that its rounds have.
struct RunSpec {
  Scheme scheme = Scheme::kFlexDemo;
  RoundFormat format;                               // of its first rounds (P30)
  SelectionKind selection = SelectionKind::kDense;  // of scheme local; others imply theirs
  float decay = 0.999f;
  float alpha = 1.0f;  // the share of what is sent that leaves the momentum
  bool lr_in_momentum = false;
  bool sign = true;
  MergeRule merge = MergeRule::kSenderMean;
  OptimizerSpec optimizer;
  float outer_lr = 1.0f;       // of scheme local, whose jobs have rates of their own
  uint64_t bucket_length = 0;  // elements; 0: chosen from the length of the flat vector
  uint64_t rounds = 0;         // 0: no end
  uint32_t start_groups = 1;
  uint32_t min_groups = 1;
  std::optional<GroupId> initial_donor;
  uint64_t seed = 0;           // of the positions of scheme random
  uint32_t audit_rounds = 25;  // rounds from one comparison of state hashes to the next; 0: none
  friend bool operator==(const RunSpec&, const RunSpec&) = default;
};

// The defaults of a scheme, which are what docs/schemes.md found best: those that send a part step
// by sign with SGD, FlexDeMo 2 of 64 as one bit each; full synchronisation averages float32
// gradients and runs AdamW, and so does training apart. Local steps go to the mean of where the
// groups have gone, told in 2 bits.
RunSpec DefaultRunSpec(Scheme scheme);

// What crosses of what is there: the scheme's, or what a run of local steps says.
SelectionKind SelectionOf(const RunSpec& spec);

// INVALID_ARGUMENT naming field, expected and actual for what cannot run: a chunk size that is no
// power of two from 16 to 4096, k beyond it, rates out of range, values or dials that do not go
// with the scheme, min_groups above start_groups, ...
absl::Status Validate(const RunSpec& spec);

// INVALID_ARGUMENT as Validate() for a format that a round of this run cannot have.
absl::Status CheckFormat(const RunSpec& spec, const RoundFormat& format);

// The same, and for one that may not follow `before`: what is taken in is kept in another way where
// whole chunks are sent, signs are the same for all, and a job cannot begin to go on, or stop.
absl::Status CheckChange(const RunSpec& spec, const RoundFormat& before, const RoundFormat& format);

// In words: "chunk_size 128 instead of 64, k 1 instead of 2".
std::string DifferenceText(const RoundFormat& before, const RoundFormat& format);

// INVALID_ARGUMENT for a change that says of a known round what is not so, or, if it is later than
// all that are known, for one of a round up to `after` or as CheckChange().
absl::Status CheckFollows(const RunSpec& spec, const RoundFormats& known,
                          const FormatChange& change, Round after);

// The spec as (field, value) texts in a fixed order, for messages, assertions and status. Names
// are those of the proto.
std::vector<std::pair<std::string, std::string>> Fields(const RunSpec& spec);

// INVALID_ARGUMENT unless `expect` is "field=value" with a value that the field takes.
absl::Status CheckExpectation(const std::string& expect);

// Each of `expect` is "field=value". OK if all agree; FAILED_PRECONDITION lists every difference
// in words; INVALID_ARGUMENT as CheckExpectation().
absl::Status CheckExpectations(const RunSpec& spec, const std::vector<std::string>& expect);

// Names used in flags and protos. Errors: INVALID_ARGUMENT naming the choices.
absl::StatusOr<Scheme> ParseScheme(const std::string& name);
absl::StatusOr<SelectionKind> ParseSelectionKind(const std::string& name);
absl::StatusOr<ValueFormat> ParseValueFormat(const std::string& name);
absl::StatusOr<MergeRule> ParseMergeRule(const std::string& name);
absl::StatusOr<OptimizerKind> ParseOptimizerKind(const std::string& name);
const char* Name(Scheme scheme);
const char* Name(SelectionKind selection);
const char* Name(ValueFormat format);
const char* Name(MergeRule rule);
const char* Name(OptimizerKind kind);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_RUN_RUN_SPEC_H_
