#include "common/run/worker_report.h"

namespace isthmus {

const char* Name(WorkPhase phase) {
  switch (phase) {
    case WorkPhase::kUnknown:
      return "unknown";
    case WorkPhase::kCompute:
      return "compute";
    case WorkPhase::kCompress:
      return "compress";
    case WorkPhase::kLink:
      return "link";
    case WorkPhase::kApply:
      return "apply";
  }
  return "unknown";
}

}  // namespace isthmus
