#include "compress/pipeline.h"

namespace nutshell::compress {

Result<CompressReport> compress(SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const Io& io) {
  KeptBytes kept;
  if (io.checkpoint != nullptr) kept = [&](const std::string& name) { return io.checkpoint->size(name); };
  CompressJob job(source, options, calibration, evaluation, pool, kept);
  RETURN_IF_ERROR(job.check());
  uint64_t bytes = options.size_bytes;
  if (bytes == 0) bytes = job.bytes_at(options.bits);
  if (options.max_kl == 0) RETURN_IF_ERROR(job.check_size(bytes));
  RETURN_IF_ERROR(run_to_end(job.analyse(), io));
  RETURN_IF_ERROR(run_to_end(options.max_kl > 0 ? job.make_below(options.max_kl) : job.make(bytes), io));
  return job.report();
}

}  // namespace nutshell::compress
