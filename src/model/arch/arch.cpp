#include "model/arch/arch.h"

namespace nutshell {

// One line per file of this folder, written by CMake: X(stem).
#define X(stem) extern const ArchDef arch_##stem;
#include "model/arch_table.inc"
#undef X

std::span<const ArchDef* const> all_architectures() {
  static const ArchDef* const kAll[] = {
#define X(stem) &arch_##stem,
#include "model/arch_table.inc"
#undef X
  };
  return kAll;
}

Result<const ArchDef*> find_architecture(std::string_view name) {
  std::string supported;
  for (const ArchDef* arch : all_architectures()) {
    if (arch->name == name) return arch;
    supported += (supported.empty() ? "" : ", ") + std::string(arch->name);
  }
  return Status(ErrorCode::unsupported_architecture, "the architecture '" + std::string(name.substr(0, 64)) +
                                                         "' is not supported; supported: " + supported);
}

}  // namespace nutshell
