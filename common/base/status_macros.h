// Error flow: return early with a status. (Abseil's own macros are newer than the packaged one.)
#ifndef ISTHMUS_COMMON_BASE_STATUS_MACROS_H_
#define ISTHMUS_COMMON_BASE_STATUS_MACROS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <utility>

#define ISTHMUS_RETURN_IF_ERROR(expr)                                                         \
  do {                                                                                        \
    if (absl::Status isthmus_status_ = (expr); !isthmus_status_.ok()) return isthmus_status_; \
  } while (false)

#define ISTHMUS_CONCAT_INNER_(a, b) a##b
#define ISTHMUS_CONCAT_(a, b) ISTHMUS_CONCAT_INNER_(a, b)

// ISTHMUS_ASSIGN_OR_RETURN(auto x, F()); declares x, or returns F's error.
#define ISTHMUS_ASSIGN_OR_RETURN(lhs, expr) \
  ISTHMUS_ASSIGN_OR_RETURN_(ISTHMUS_CONCAT_(isthmus_status_or_, __LINE__), lhs, expr)
#define ISTHMUS_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) return std::move(tmp).status();  \
  lhs = *std::move(tmp)

#endif  // ISTHMUS_COMMON_BASE_STATUS_MACROS_H_
