// nutshell quantize: a model in one of the plain number formats that llama.cpp reads.
#include <chrono>
#include <map>

#include "compress/convert.h"
#include "quant/format.h"
#include "tools/atomic_file.h"
#include "tools/commands.h"

namespace nutshell {
namespace {

using namespace nutshell::compress;

Result<DType> format_named(const std::string& name) {
  std::string known;
  for (const DTypeInfo& info : kDTypes) {
    if (!has_encoder(info.dtype)) continue;
    if (info.name == name) return info.dtype;
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  return Status(ErrorCode::usage, "--to " + name + ": the formats are " + known);
}

}  // namespace

Answer run_quantize(const QuantizeCommand& c) {
  const auto start = std::chrono::steady_clock::now();
  ConvertOptions options;
  ASSIGN_OR_RETURN(options.to, format_named(c.to));
  options.pure = c.pure;
  ThreadPool pool(c.threads > 0 ? c.threads : default_threads());
  ASSIGN_OR_RETURN(ModelHeader header, read_model_header(c.model));
  ASSIGN_OR_RETURN(const ReadModel read, open_model(c.model));
  AtomicFile out(c.output);
  RETURN_IF_ERROR(out.opened());
  ASSIGN_OR_RETURN(const ConvertReport report,
                   convert(
                       std::move(header), read, options, pool,
                       [&](std::span<const uint8_t> bytes) { return out.write(bytes); }, ProgressLine()));
  RETURN_IF_ERROR(out.finish());
  std::map<std::string, int> formats;
  nlohmann::json fallback = nlohmann::json::array();
  for (const ConvertReport::Tensor& t : report.tensors) {
    ++formats[std::string(name_of(t.dtype))];
    if (t.fell_back) fallback.push_back({{"tensor", t.name}, {"format", name_of(t.dtype)}});
  }
  return nlohmann::json{
      {"bytes", report.bytes},
      {"bits_per_weight", report.bits_per_weight},
      {"formats", formats},
      {"fallback", std::move(fallback)},
      {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()}};
}

}  // namespace nutshell
