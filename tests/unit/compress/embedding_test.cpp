// The compressor on a tiny embedding model: its formulas against the engine's, the way back against finite
// differences, and the file.
#include <doctest/doctest.h>

#include <cmath>

#include "compress/embedding.h"
#include "compress/float_run.h"
#include "engine/embed.h"
#include "support/compress_tiny.h"
#include "support/loading.h"
#include "support/tiny_bert.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;

namespace {

std::shared_ptr<Bytes> bert_bytes() { return std::make_shared<Bytes>(bert_gguf().build()); }

std::vector<float> embed(const Bytes& file, const std::string& text) {
  ThreadPool pool(1);
  LoadOptions options;
  options.context_size = kBertContext;
  const std::vector<TestFile> files{{"bert.gguf", file}};
  options.files = model_files(files);
  Loader loader(pool, options);
  const Status fed = feed(loader, files);
  REQUIRE_MESSAGE(fed.ok(), fed.message());
  const auto model = loader.take();
  const auto out = embed_text(*model, text);
  REQUIRE_MESSAGE(out.ok(), out.status().message());
  return out->values;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return ab / std::sqrt(aa * bb);
}

std::vector<int32_t> letters(size_t n, uint64_t seed) {
  std::vector<int32_t> ids(n);
  for (size_t i = 0; i < n; ++i) ids[i] = 5 + static_cast<int32_t>(counter_rng(seed, i) % 52);
  return ids;
}

class Gradients : public GradientObserver {
 public:
  explicit Gradients(size_t n) : of(n) {}
  std::vector<Matrix> of;
  void on_linear(const LinearOp& op, const Matrix& x, std::span<const Matrix> gradients) override {
    for (size_t p = 0; p < gradients.size(); ++p)
      of[static_cast<size_t>(op.parts[p].weight)] = gradients[p].transpose() * x;
  }
  void on_embed(const EmbedOp& op, std::span<const int32_t> tokens, const Matrix& gradient) override {
    if (op.by != EmbedBy::token) return;
    Matrix& g = of[static_cast<size_t>(op.table)];
    g = Matrix::Zero(static_cast<int64_t>(bert_words().size()), gradient.cols());
    for (size_t t = 0; t < tokens.size(); ++t) g.row(tokens[t]) += gradient.row(static_cast<int64_t>(t));
  }
};

}  // namespace

TEST_CASE("compress: a text's vector is the engine's, and its slope by every matrix is right") {
  auto source = open_bytes(bert_bytes());
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  ThreadPool pool(2);
  std::vector<int32_t> tokens = source->tokenizer->encode("a box of quick jam", true);
  tokens.insert(tokens.begin(), source->tokenizer->prefix().begin(), source->tokenizer->prefix().end());
  tokens.insert(tokens.end(), source->tokenizer->suffix().begin(), source->tokenizer->suffix().end());
  std::vector<Matrix> weights = source->weights;
  FloatRun run(source->graph, weights, pool);
  run.forward(tokens, true);
  const Vector v = text_vector(run.logits(), source->hparams.pooling);
  const std::vector<float> engine = embed(*bert_bytes(), "a box of quick jam");
  CHECK(cosine(engine, std::vector<float>(v.data(), v.data() + v.size())) > 0.999);

  // The gradient of <u, v> for the u that is drawn: u shows itself in the gradient by the tokens' vectors.
  Matrix gradient = run.logits();
  sample_vector_gradient(gradient, source->hparams.pooling, 7, 0);
  const Matrix drawn = gradient, before_tokens = run.logits();
  Gradients gradients(weights.size());
  run.backward(gradient, gradients);
  const auto loss = [&] {  // to first order
    FloatRun again(source->graph, weights, pool);
    again.forward(tokens, false);
    return (again.logits() - before_tokens).cwiseProduct(drawn).cast<double>().sum();
  };
  for (size_t i = 0; i < weights.size(); ++i) {
    if (gradients.of[i].size() == 0) continue;
    CAPTURE(source->graph.weights[i].name);
    check_slope(weights[i], gradients.of[i], loss, 0.03);
  }
}

TEST_CASE("compress: the gradient of a text's vector has the mean square of its change") {
  Matrix tokens(3, 8);
  for (int64_t i = 0; i < tokens.size(); ++i) tokens.data()[i] = uniform_pm1(3, static_cast<uint64_t>(i));
  Matrix change(3, 8);
  for (int64_t i = 0; i < change.size(); ++i)
    change.data()[i] = 1e-3f * uniform_pm1(4, static_cast<uint64_t>(i));
  for (const Pooling pooling : {Pooling::mean, Pooling::first}) {
    const double wanted = static_cast<double>(
        (text_vector(tokens + change, pooling) - text_vector(tokens, pooling)).squaredNorm());
    double sum = 0;
    constexpr uint64_t kDraws = 20000;
    for (uint64_t i = 0; i < kDraws; ++i) {
      Matrix g = tokens;
      sample_vector_gradient(g, pooling, 5, i);
      sum += std::pow(static_cast<double>(g.cwiseProduct(change).sum()), 2);
    }
    CHECK(sum / kDraws == doctest::Approx(wanted).epsilon(0.05));
  }
}

TEST_CASE("compress: an embedding model becomes a file whose vectors are as near as the report says") {
  const auto bytes = bert_bytes();
  auto source = open_bytes(bytes);
  REQUIRE_MESSAGE(source.ok(), source.status().message());
  const auto made = [&](double bits) {
    CompressOptions options;
    options.bits = bits;
    options.window_tokens = 24;
    options.windows = 16;
    options.held_out = 8;
    return compress_texts(*source, options, letters(2000, 1), letters(400, 2), 2);
  };
  const Compressed small = made(12), large = made(16);
  REQUIRE_MESSAGE(small.status.ok(), small.status.message());
  REQUIRE_MESSAGE(large.status.ok(), large.status.message());
  CHECK(fnv1a({reinterpret_cast<const char*>(small.file.data()), small.file.size()}) ==
        15141837544986929053u);  // portable_test.cpp
  CHECK(small.report.quality.scored == 8);
  CHECK(large.report.quality.mean_cosine >= small.report.quality.mean_cosine);
  double sum = 0;
  const char* const texts[] = {"a quick fox", "jam and box", "lazy dogs sit", "we vow"};
  for (const char* text : texts)
    sum += cosine(embed(*bytes, text), embed(Bytes(large.file.begin(), large.file.end()), text));
  const double near = sum / 4;
  INFO(near << " of " << large.report.quality.mean_cosine);
  CHECK(near > 1 - 3 * (1 - large.report.quality.mean_cosine));

  CompressOptions heal;
  heal.bits = 12;
  heal.heal_minutes = 1;
  CHECK(compress_tiny(*source, heal, 1).status.code() == ErrorCode::invalid_argument);
}
