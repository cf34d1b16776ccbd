// nutshell compress: a smaller model out of a model and texts.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "compress/memory.h"
#include "compress/pipeline.h"
#include "tools/checkpoint.h"
#include "tools/commands.h"

namespace nutshell {
namespace {

using namespace nutshell::compress;

// A file that appears under its name only when all of it is on disk.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path)
      : path_(std::move(path)),
        partial_(path_ + ".partial"),
        fd_(::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {}
  ~AtomicFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(partial_.c_str());
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  Status opened() const { return fd_ < 0 ? error("cannot create '" + partial_ + "'") : Status(); }
  Status write(std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return error("cannot write '" + partial_ + "'");
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return {};
  }
  Status finish() {
    if (::fsync(fd_) != 0) return error("cannot write '" + partial_ + "'");
    if (::rename(partial_.c_str(), path_.c_str()) != 0) return error("cannot create '" + path_ + "'");
    ::close(fd_);
    fd_ = -1;
    return {};
  }

 private:
  static Status error(const std::string& what) {
    return {ErrorCode::io_error, what + ": " + std::strerror(errno)};
  }
  std::string path_, partial_;
  int fd_;
};

// Bytes that could be had without swapping; 0: not known.
uint64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("MemAvailable:")) return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
  return 0;
}

// The last eighth of every text is kept for the evaluation when there is no other text for it.
Status read_texts(const CompressCommand& c, const Tokenizer& tokenizer, std::vector<int32_t>& calibration,
                  std::vector<int32_t>& evaluation) {
  for (const std::string& path : c.calibration) {
    ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
    const std::vector<int32_t> ids = tokenizer.encode(text, true);
    const auto cut =
        static_cast<std::ptrdiff_t>(c.evaluation.empty() ? ids.size() - ids.size() / 8 : ids.size());
    calibration.insert(calibration.end(), ids.begin(), ids.begin() + cut);
    evaluation.insert(evaluation.end(), ids.begin() + cut, ids.end());
  }
  for (const std::string& path : c.evaluation) {
    ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
    const std::vector<int32_t> ids = tokenizer.encode(text, true);
    evaluation.insert(evaluation.end(), ids.begin(), ids.end());
  }
  return {};
}

}  // namespace

Answer run_compress(const CompressCommand& c) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  ThreadPool pool(c.threads > 0 ? c.threads : default_threads());
  ASSIGN_OR_RETURN(ModelHeader header, read_model_header(c.model));
  ASSIGN_OR_RETURN(ReadModel read, open_model(c.model));
  ASSIGN_OR_RETURN(const SourceModel source, open_source(std::move(header), std::move(read)));
  std::vector<int32_t> calibration, evaluation;
  RETURN_IF_ERROR(read_texts(c, *source.tokenizer, calibration, evaluation));
  AtomicFile out(c.output);
  RETURN_IF_ERROR(out.opened());
  CompressOptions options;
  options.size_bytes = c.size;
  options.bits = c.bits;
  options.seed = c.seed;
  options.windows = c.windows;
  options.held_out = c.held_out;
  options.heal_minutes = c.heal;
  options.memory_limit = available_memory();
  if (c.damp_inputs > 0) options.damp_inputs = c.damp_inputs;
  if (c.damp_outputs > 0) options.damp_outputs = c.damp_outputs;
  const auto windows = static_cast<int64_t>(calibration.size()) / options.window_tokens;
  std::fprintf(stderr, "memory: up to %.2f GB\n",
               1e-9 * static_cast<double>(plan_memory(source.graph, options,
                                                      std::min(windows, kInputWindows * options.windows))
                                              .total()));
  FolderCheckpoint state(c.output + ".state");  // stays when the run fails or is killed
  ASSIGN_OR_RETURN(const CompressReport report,
                   compress::compress(
                       source, options, calibration, evaluation, pool,
                       [&](std::span<const uint8_t> bytes) { return out.write(bytes); },
                       [&](const std::string& stage, double done) {
                         std::fprintf(stderr, "\r%-12s %3.0f %%  %.0f s ", stage.c_str(), 100 * done,
                                      seconds());
                       },
                       &state));
  RETURN_IF_ERROR(out.finish());
  state.remove();
  std::fprintf(stderr, "\n");
  nlohmann::json bits = nlohmann::json::object();
  for (const auto& [name, k] : report.bits) bits[name] = k;
  return nlohmann::json{{"bytes", report.bytes},
                        {"bits_per_weight", report.bits_per_weight},
                        {"perplexity_before", report.quality.perplexity_before},
                        {"perplexity_after", report.quality.perplexity_after},
                        {"mean_kl", report.quality.mean_kl},
                        {"top1_agreement", report.quality.top1_agreement},
                        {"predicted_kl", report.predicted_kl},
                        {"scored", report.quality.scored},
                        {"bits", std::move(bits)},
                        {"seconds", seconds()}};
}

}  // namespace nutshell
