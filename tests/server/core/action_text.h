// What the coordinator's core asks for, one line each, as scenario files have it.
#ifndef ISTHMUS_TESTS_SERVER_CORE_ACTION_TEXT_H_
#define ISTHMUS_TESTS_SERVER_CORE_ACTION_TEXT_H_

#include <absl/status/status.h>

#include <string>

#include "server/core/actions.h"

namespace isthmus {

std::string ToText(const Action& action);
// "NOT_FOUND: the words".
std::string ToText(const absl::Status& status);

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_SERVER_CORE_ACTION_TEXT_H_
