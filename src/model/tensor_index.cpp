#include "model/tensor_index.h"

#include "model/gguf.h"

namespace nutshell {

Status TensorEntry::check_supported() const {
  if (dtype) return {};
  std::string supported;
  for (const DTypeInfo& info : kDTypes) supported += (supported.empty() ? "" : ", ") + std::string(info.name);
  return {ErrorCode::unsupported_format, "the tensor " + quoted(name) + " has the format " + format_name +
                                             ", which is not supported; supported: " + supported};
}

}  // namespace nutshell
