// Placeholder until inspect.cpp lands (delete this file then).
#include "tools/commands.h"
namespace nutshell {
Answer run_inspect(const std::string&) { return Status(ErrorCode::internal, "inspect has not landed"); }
}  // namespace nutshell
