// nutshell inspect: what a model file holds, and whether it can be run. Reads only the header.
#include "engine/inspect.h"

#include "tools/commands.h"

namespace nutshell {

Answer run_inspect(const std::string& file) {
  ASSIGN_OR_RETURN(const ModelHeader header, read_model_header(file));
  return inspect(header);
}

}  // namespace nutshell
