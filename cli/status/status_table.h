// The coordinator's status as people and programs read it. Pure.
#ifndef ISTHMUS_CLI_STATUS_STATUS_TABLE_H_
#define ISTHMUS_CLI_STATUS_STATUS_TABLE_H_

#include <string>

#include "isthmus/v1/control.pb.h"

namespace isthmus {

// Several lines: the run, where it stands and why, then a row per group.
std::string FormatStatusTable(const v1::GetStatusReply& status);

// The message as JSON, with the field names of control.proto and every field present. `pretty`
// spreads it over lines.
std::string FormatStatusJson(const v1::GetStatusReply& status, bool pretty);

// "training", "waiting for groups" ...
std::string StateName(v1::GetStatusReply::State state);

}  // namespace isthmus

#endif  // ISTHMUS_CLI_STATUS_STATUS_TABLE_H_
