// The same bits natively and in wasm (compress/matrix.h, compress/portable.h): this test runs in both,
// against the same golden numbers. A change of the recipe changes them: the message of a failure says the new
// ones.
#include "compress/portable.h"

#include <doctest/doctest.h>

#include <string_view>

#include "base/rng.h"
#include "compress/quantize.h"
#include "compress/rotation.h"
#include "support/compress_tiny.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;

namespace {

template <typename Bytes>
uint64_t hash_of(const Bytes& b) {
  return fnv1a({reinterpret_cast<const char*>(b.data()), static_cast<size_t>(b.size()) * sizeof(*b.data())});
}

Matrix uniform_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix m(rows, cols);
  for (int64_t i = 0; i < m.size(); ++i) m.data()[i] = uniform_pm1(seed, static_cast<uint64_t>(i));
  return m;
}

}  // namespace

TEST_CASE("portable: products, sums, factors and exponentials have the same bits everywhere") {
  fix_cache_sizes();
  ThreadPool pool(2);
  const Matrix x = uniform_matrix(173, 1536, 1), w = uniform_matrix(211, 1536, 2);
  Matrix y(173, 211);
  multiply_transposed(pool, x, w, false, y);
  CHECK(hash_of(y) == 9158107449500704936u);
  Matrix gram = Matrix::Zero(211, 211);
  add_gram(pool, y, {}, gram);
  CHECK(hash_of(gram) == 10677622090168561783u);
  const MetricFactor factor = factor_metric(gram, 0.01);
  CHECK(hash_of(factor.m[0]) == 7919346671596721580u);
  CHECK(hash_of(factor.d) == 10212544848935185152u);
  const Vector by_columns = x.row(3).head(171) * y.topRows(171),
               tail = y.col(5).head(170).transpose() * x.topRows(170);
  CHECK(hash_of(by_columns) == 9183008283798818157u);
  CHECK(hash_of(tail) == 16188662584841882681u);
  const float sums[] = {x.row(7).segment(3, 1001).squaredNorm(), x.row(8).tail(77).dot(x.row(9).tail(77)),
                        y.mean()};
  CHECK(hash_of(std::span(sums)) == 305751271383734417u);
  softmax_rows(pool, y);
  CHECK(hash_of(y) == 10523238785790834071u);
  Matrix turned = uniform_matrix(5, 576, 4);
  rotate_rows(pool, 1, turned);
  CHECK(hash_of(turned) == 15873048295810824568u);
  Vector curve = 20.0f * uniform_matrix(1, 4001, 3).row(0);
  map_fours({curve.data(), 4001}, tanh_four);
  CHECK(hash_of(curve) == 14733062570044802736u);
}

TEST_CASE("portable: a compressed file has the same bytes everywhere") {
  const auto file = [](const char* architecture) {
    auto source = open_bytes(tiny_bytes(architecture));
    REQUIRE_MESSAGE(source.ok(), source.status().message());
    CompressOptions options;
    options.size_bytes = 36000;
    const Compressed done = compress_tiny(*source, options, 2);
    REQUIRE_MESSAGE(done.status.ok(), done.status.message());
    return hash_of(done.file);
  };
  CHECK(file("llama") == 5443047124658304090u);
  CHECK(file("qwen2") == 3298244641193878048u);
  CHECK(file("gemma3") == 3925256879439240555u);
}
