#include "model/arch/arch.h"

#include <algorithm>

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

Result<HParams> read_hparams(const ArchDef& arch, const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, arch.read_hparams(file));
  const auto& host = arch.host_tensors;
  if (p.rope.scaling == RopeScaling::longrope && std::find(host.begin(), host.end(), kRopeLong) == host.end())
    return Status(
        ErrorCode::unsupported_architecture,
        "the RoPE scaling 'longrope' is not supported for the architecture '" + std::string(arch.name) + "'");
  return p;
}

std::span<const float> rope_divisors(GraphBuilder& g, const HParams& p, const HostTensors& host) {
  const bool is_long = static_cast<double>(p.n_ctx) > p.rope.n_ctx_orig;
  const std::string longrope(is_long ? kRopeLong : kRopeShort);
  const auto freqs = host.find(std::string(kRopeFreqs));
  const auto found = freqs != host.end() ? freqs : host.find(longrope);
  if (found == host.end()) {
    // Present but not read: the graph is built to be looked at.
    if (p.rope.scaling == RopeScaling::longrope && !g.has(longrope))
      g.fail(ErrorCode::missing_tensor, "the file lacks the tensor '" + longrope + "'");
    return {};
  }
  const auto& [name, divisors] = *found;
  if (static_cast<int64_t>(divisors.size()) != p.rope.n_rot / 2)
    g.fail(ErrorCode::bad_shape, "the tensor '" + name + "' has " + std::to_string(divisors.size()) +
                                     " values, expected " + std::to_string(p.rope.n_rot / 2));
  return divisors;
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
