// A trained model on disk.
//
//   file    := magic config count value*
//   magic   := "ISTHLM01"
//   config  := width layers heads context     each uint32
//   count   := uint64                         values that follow
//   value   := float32                        tensor by tensor, as ModelTensors(config) lists them
//
// All little-endian. The length is checked, the contents are not.
#ifndef ISTHMUS_EXAMPLES_LM_MODEL_FILE_H_
#define ISTHMUS_EXAMPLES_LM_MODEL_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/lm/parameter_set.h"
#include "examples/lm/tensors.h"

namespace isthmus::lm {

struct SavedModel {
  ModelConfig config;
  ParameterSet<float> parameters;
};

absl::Status SaveModel(const std::string& path, const ModelConfig& config,
                       const ParameterSet<float>& parameters);

// Errors: NOT_FOUND, DATA_LOSS where it is no whole model file.
absl::StatusOr<SavedModel> LoadModel(const std::string& path);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_MODEL_FILE_H_
