// What a compression can be asked for instead of a size and of calibration texts, on tiny random models.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "base/rng.h"
#include "compress/pipeline.h"
#include "support/tiny_gguf.h"

using namespace nutshell;
using namespace nutshell::compress;

namespace {

Result<SourceModel> open_bytes(const std::shared_ptr<test::Bytes>& bytes) {
  auto header = parse_gguf(*bytes, bytes->size());
  REQUIRE(header.ok());
  REQUIRE(header->has_value());
  return open_source(header_of(std::move(**header)),
                     [bytes](uint32_t, uint64_t offset, std::span<uint8_t> to) {
                       std::memcpy(to.data(), bytes->data() + offset, to.size());
                       return Status();
                     });
}

std::shared_ptr<test::Bytes> tiny_bytes() { return std::make_shared<test::Bytes>(test::tiny_gguf().build()); }

std::vector<int32_t> random_tokens(size_t n, uint64_t seed) {
  std::vector<int32_t> ids(n);
  for (size_t i = 0; i < n; ++i) ids[i] = static_cast<int32_t>(counter_rng(seed, i) % 256);
  return ids;
}

struct Compressed {
  Status status;
  CompressReport report;
  std::vector<uint8_t> file;
};

Compressed compress_tiny(const SourceModel& source, CompressOptions options, int threads,
                         size_t n_tokens = 256) {
  ThreadPool pool(threads);
  options.window_tokens = 64;
  options.windows = 4;
  options.held_out = 2;
  Compressed out;
  const auto report = nutshell::compress::compress(
      source, options, random_tokens(n_tokens, 1), random_tokens(n_tokens, 2), pool,
      [&](std::span<const uint8_t> bytes) {
        out.file.insert(out.file.end(), bytes.begin(), bytes.end());
        return Status();
      },
      {});
  out.status = report.status();
  if (report.ok()) out.report = *report;
  return out;
}

}  // namespace

TEST_CASE(
    "compress: a KL divergence instead of a size gives a file that stays below it, or says what can be") {
  const auto source = open_bytes(tiny_bytes());
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  CompressOptions options;
  options.bits = 16;
  const Compressed largest = compress_tiny(*source, options, 2);
  REQUIRE_MESSAGE(largest.status.ok(), largest.status.message());
  options.bits = 0;
  options.size_bytes = 1;
  const std::string refused = compress_tiny(*source, options, 2).status.message();
  options.size_bytes = std::stoull(refused.substr(refused.find_last_of(' ') + 1));
  const Compressed smallest = compress_tiny(*source, options, 2);
  REQUIRE_MESSAGE(smallest.status.ok(), smallest.status.message());

  options.size_bytes = 0;
  options.max_kl = std::sqrt(smallest.report.quality.mean_kl * largest.report.quality.mean_kl);
  const Compressed between = compress_tiny(*source, options, 2);
  REQUIRE_MESSAGE(between.status.ok(), between.status.message());
  CHECK(between.report.quality.mean_kl <= options.max_kl);
  CHECK(between.file.size() == between.report.bytes);
  CHECK(between.file.size() < largest.file.size());
  CHECK(between.file.size() > smallest.file.size());

  options.max_kl = largest.report.quality.mean_kl / 3;
  const Compressed impossible = compress_tiny(*source, options, 2);
  CHECK(impossible.status.code() == ErrorCode::invalid_argument);
  CHECK(impossible.status.message().find("cannot be reached") != std::string::npos);
  CHECK(impossible.file.empty());
}

TEST_CASE("compress: without data the file is as good as its bits, and needs no text") {
  const auto source = open_bytes(tiny_bytes());
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  CompressOptions options;
  options.bits = 16;
  options.data_free = true;
  const Compressed one = compress_tiny(*source, options, 1), three = compress_tiny(*source, options, 3);
  REQUIRE_MESSAGE(one.status.ok(), one.status.message());
  CHECK(one.file == three.file);
  CHECK(one.file.size() <= one.report.bytes);
  options.bits = 0;
  options.size_bytes = 1;
  const std::string refused = compress_tiny(*source, options, 1).status.message();
  options.size_bytes = std::stoull(refused.substr(refused.find_last_of(' ') + 1));
  const Compressed worse = compress_tiny(*source, options, 1);
  REQUIRE(worse.status.ok());
  CHECK(worse.report.quality.mean_kl > one.report.quality.mean_kl);
  CHECK(one.report.quality.mean_kl > 0);

  ThreadPool pool(1);
  options.held_out = 0;
  const auto unmeasured = nutshell::compress::compress(*source, options, {}, {}, pool,
                                                       [](std::span<const uint8_t>) { return Status(); }, {});
  REQUIRE_MESSAGE(unmeasured.ok(), unmeasured.status().message());
  CHECK(unmeasured->quality.scored == 0);
  options.heal_minutes = 1;
  CHECK(compress_tiny(*source, options, 1).status.code() == ErrorCode::invalid_argument);
}
