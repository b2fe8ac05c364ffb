// Between the wire's messages and our own types. What comes from a peer is validated here.
#ifndef ISTHMUS_COMMON_TRANSPORT_CONVERT_H_
#define ISTHMUS_COMMON_TRANSPORT_CONVERT_H_

#include <absl/status/statusor.h>

#include "common/run/link_estimate.h"
#include "common/run/run_spec.h"
#include "common/run/update.h"
#include "common/tensor/layout.h"
#include "isthmus/v1/exchange.pb.h"
#include "isthmus/v1/types.pb.h"

namespace isthmus {

void ToProto(const RunSpec& spec, v1::RunSpec* out);
// Errors: INVALID_ARGUMENT for unknown names and whatever Validate() refuses.
absl::StatusOr<RunSpec> FromProto(const v1::RunSpec& in);

void ToProto(const Layout& layout, v1::Layout* out);
absl::StatusOr<Layout> FromProto(const v1::Layout& in);

void ToProto(const RunTotals& totals, v1::RunTotals* out);
RunTotals FromProto(const v1::RunTotals& in);

void ToProto(const LinkEstimate& estimate, v1::LinkEstimate* out);
// What is no rate is none.
LinkEstimate FromProto(const v1::LinkEstimate& in);

void ToProto(const ContributionInfo& info, v1::ContributionInfo* out);
ContributionInfo FromProto(const v1::ContributionInfo& in);

void ToProto(const FormatChange& change, v1::FormatChange* out);
// Errors: INVALID_ARGUMENT naming the field for what is no format at all; whether a run may have it
// is for CheckChange() to say.
absl::StatusOr<FormatChange> FromProto(const v1::FormatChange& in);
// The same of several, of which each must follow the one before.
absl::StatusOr<std::vector<FormatChange>> FromProto(
    const google::protobuf::RepeatedPtrField<v1::FormatChange>& in);

// Header only; the payload is the caller's. Errors: as for a change.
void ToProto(const UpdateHeader& header, v1::Update* out);
absl::StatusOr<UpdateHeader> FromProto(const v1::Update& in);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_CONVERT_H_
