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

// Header only; the payload is the caller's.
void ToProto(const UpdateHeader& header, v1::Update* out);
UpdateHeader FromProto(const v1::Update& in);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TRANSPORT_CONVERT_H_
