// A tiny random model as the compressor's tests take it: opened from memory, compressed with few tokens.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "compress/pipeline.h"
#include "support/golden.h"
#include "support/tiny_gguf.h"
#include "support/tiny_model.h"

namespace nutshell::test {

inline Result<compress::SourceModel> open_bytes(const std::shared_ptr<Bytes>& bytes) {
  auto header = parse_gguf(*bytes, bytes->size());
  REQUIRE(header.ok());
  REQUIRE(header->has_value());
  auto source = compress::open_source(header_of(std::move(**header)),
                                      [bytes](uint32_t, uint64_t offset, std::span<uint8_t> to) {
                                        std::memcpy(to.data(), bytes->data() + offset, to.size());
                                        return Status();
                                      });
  if (!source.ok()) return source;
  const Status read = compress::run_to_end(compress::read_weights(*source), {source->read, {}, {}, nullptr});
  if (!read.ok()) return read;
  return source;
}

inline std::shared_ptr<Bytes> tiny_bytes(const std::string& architecture = "llama") {
  TinyShape shape;
  shape.architecture = architecture;
  return std::make_shared<Bytes>(tiny_gguf(shape).build());
}

inline std::vector<int32_t> random_tokens(size_t n, uint64_t seed, uint64_t n_vocab = 256) {
  std::vector<int32_t> ids(n);
  for (size_t i = 0; i < n; ++i) ids[i] = static_cast<int32_t>(counter_rng(seed, i) % n_vocab);
  return ids;
}

// A variant of the golden models (tests/golden/models): the first one, or that of the name.
inline std::shared_ptr<Bytes> golden_bytes(const std::string& architecture, const std::string& variant = {}) {
  const nlohmann::json golden = read_golden("models/" + architecture + ".json");
  for (const nlohmann::json& each : golden["variants"])
    if (variant.empty() || each["name"] == variant)
      return std::make_shared<Bytes>(make_tiny_model(golden, each).bytes);
  FAIL("no variant ", variant);
  return nullptr;
}

struct Compressed {
  Status status;
  compress::CompressReport report;
  std::vector<uint8_t> file;
};

inline Compressed compress_texts(compress::SourceModel& source, const compress::CompressOptions& options,
                                 const std::vector<int32_t>& calibration,
                                 const std::vector<int32_t>& evaluation, int threads) {
  ThreadPool pool(threads);
  Compressed out;
  const auto report =
      nutshell::compress::compress(source, options, calibration, evaluation, pool,
                                   {source.read,
                                    [&](std::span<const uint8_t> bytes) {
                                      out.file.insert(out.file.end(), bytes.begin(), bytes.end());
                                      return Status();
                                    },
                                    {},
                                    nullptr});
  out.status = report.status();
  if (report.ok()) out.report = *report;
  return out;
}

inline Compressed compress_tiny(compress::SourceModel& source, compress::CompressOptions options, int threads,
                                size_t n_tokens = 256) {
  options.window_tokens = 64;
  options.windows = 4;
  options.held_out = 2;
  return compress_texts(source, options, random_tokens(n_tokens, 1), random_tokens(n_tokens, 2), threads);
}

// That g is the slope of the loss by a weight, which the loss sees: along g itself, by central differences.
template <typename Loss>
void check_slope(compress::Matrix& weight, const compress::Matrix& g, const Loss& loss, double epsilon) {
  const compress::Matrix unit = g / g.norm(), before = weight;
  const float h = 3e-3f * before.norm() / std::sqrt(static_cast<float>(before.size()));
  weight = before + h * unit;
  const double up = loss();
  weight = before - h * unit;
  const double down = loss();
  weight = before;
  CHECK((up - down) / (2 * static_cast<double>(h)) ==
        doctest::Approx(static_cast<double>(g.norm())).epsilon(epsilon));
}

}  // namespace nutshell::test
