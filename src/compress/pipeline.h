// The compressor where there are files: a model and a text in, a smaller model out, in one call. L5. What
// happens is in job.h.
#pragma once

#include <span>

#include "compress/job.h"

namespace nutshell::compress {

// One of options' size_bytes, bits and max_kl is the size. Errors: those of CompressJob and of io. The state
// in io.checkpoint is for what was begun with the same source, texts and options.
Result<CompressReport> compress(SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const Io& io);

}  // namespace nutshell::compress
