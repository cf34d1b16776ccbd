// What a compression can be asked for instead of a size and of calibration texts, on tiny random models.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "support/compress_tiny.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;

TEST_CASE(
    "compress: a KL divergence instead of a size gives a file that stays below it, or says what can be") {
  auto source = open_bytes(tiny_bytes());
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
  auto source = open_bytes(tiny_bytes());
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
  CHECK(worse.report.predicted_kl > one.report.predicted_kl);
  CHECK(worse.report.quality.scored == 0);  // the model is not run
  CHECK(worse.file.size() == options.size_bytes);

  options.heal_minutes = 1;
  CHECK(compress_tiny(*source, options, 1).status.code() == ErrorCode::invalid_argument);
  options.heal_minutes = 0;
  options.max_kl = 1;
  CHECK(compress_tiny(*source, options, 1).status.code() == ErrorCode::invalid_argument);
}
