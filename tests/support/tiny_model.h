// Tiny random models of any architecture, as scripts/golden/make_model.py makes them: a golden lists metadata
// and tensors, the numbers come from base/rng.h. Built as a whole GGUF file in memory, so that reading
// metadata and shapes is tested too.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/rng.h"
#include "engine/loader.h"
#include "quant/format.h"
#include "support/gguf_writer.h"
#include "support/tiny_gguf.h"

namespace nutshell::test {

struct TinyModel {
  Bytes bytes;
  ModelHeader header;
  const ArchDef* arch = nullptr;
  HParams hparams;
  HostTensors host;
};

// An integer, number, bool, text or list of integers or bools, with the type make_model.py writes.
inline void add_metadata(GgufWriter& w, const std::string& key, const nlohmann::json& value) {
  if (value.is_boolean()) {
    w.add(key, value.get<bool>());
  } else if (value.is_number_integer()) {
    w.add(key, value.get<uint32_t>());
  } else if (value.is_number()) {
    w.add(key, value.get<float>());
  } else if (value.is_string()) {
    w.add(key, value.get<std::string>());
  } else if (value.at(0).is_boolean()) {
    w.add_array<bool>(key, value.get<std::vector<bool>>());
  } else if (value.at(0).is_number_integer()) {
    w.add_array<uint32_t>(key, value.get<std::vector<uint32_t>>());
  } else {
    w.add_array<float>(key, value.get<std::vector<float>>());
  }
}

// n values in blocks as make_model.py's random_mxfp4() makes them.
inline Bytes tiny_mxfp4(uint64_t seed, uint64_t n) {
  Bytes bytes;
  for (uint64_t b = 0; b < n / 32; ++b) {
    put(bytes, static_cast<uint8_t>(120 + counter_rng(seed ^ 1, b) % 4));
    for (uint64_t half : {2 * b, 2 * b + 1}) put(bytes, counter_rng(seed, half));
  }
  return bytes;
}

// The f32 values of a tensor of the golden's list, row by row.
inline std::vector<float> tiny_values(const nlohmann::json& tensor, uint64_t seed) {
  const std::string name = tensor[0];
  uint64_t n = 1;
  for (const auto& extent : tensor[1]) n *= extent.get<uint64_t>();
  const float scale = tensor[2], offset = tensor[3];
  std::vector<float> values;
  values.reserve(n);
  for (uint64_t i = 0; i < n; ++i) values.push_back(offset + uniform_pm1(fnv1a(name) ^ seed, i) * scale);
  return values;
}

inline void add_tiny_tensor(GgufWriter& w, const nlohmann::json& tensor, uint64_t seed) {
  const std::string name = tensor[0];
  std::vector<uint64_t> dims;  // the golden has rows first, GGUF the contiguous extent
  uint64_t n = 1;
  for (auto extent = tensor[1].rbegin(); extent != tensor[1].rend(); ++extent) {
    dims.push_back(extent->get<uint64_t>());
    n *= dims.back();
  }
  if (tensor[2] == "MXFP4") {
    w.add_tensor(name, dims, DType::mxfp4, tiny_mxfp4(fnv1a(name) ^ seed, n));
    return;
  }
  Bytes bytes;
  bytes.reserve(n * sizeof(float));
  for (const float value : tiny_values(tensor, seed)) put(bytes, value);
  w.add_tensor(name, dims, DType::f32, std::move(bytes));
}

inline TinyModel make_tiny_model(const nlohmann::json& golden, const nlohmann::json& variant) {
  const std::string name = golden["architecture"];
  GgufWriter w;
  w.add("general.architecture", name);
  for (const auto& [key, value] : variant["metadata"].items())
    add_metadata(w, key.starts_with("tokenizer.") ? key : name + "." + key, value);
  std::vector<std::string> tokens(golden["n_vocab"].get<size_t>());
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = byte_token(static_cast<int>(i));
  w.add_strings("tokenizer.ggml.tokens", tokens);
  w.add_array<int32_t>("tokenizer.ggml.token_type", std::vector<int32_t>(tokens.size(), 1));
  w.add_strings("tokenizer.ggml.merges", {});
  w.add("tokenizer.ggml.model", "gpt2");
  w.add("tokenizer.ggml.pre", "smollm");
  for (const auto& tensor : variant["tensors"]) add_tiny_tensor(w, tensor, golden["head"]["seed"]);
  for (const auto& [key, value] : variant["given"].items()) {
    Bytes bytes;
    for (const auto& v : value) put(bytes, v.get<float>());
    w.add_tensor(key, {value.size()}, DType::f32, std::move(bytes));
  }
  TinyModel m;
  m.bytes = w.build();
  auto parsed = parse_gguf(m.bytes, m.bytes.size());
  REQUIRE_MESSAGE(parsed.ok(), parsed.status().message());
  REQUIRE(parsed->has_value());
  m.header = header_of(std::move(**parsed));
  const auto arch = find_architecture(name);
  REQUIRE_MESSAGE(arch.ok(), arch.status().message());
  m.arch = *arch;
  auto hparams = read_hparams(*m.arch, m.header.metadata);
  REQUIRE_MESSAGE(hparams.ok(), hparams.status().message());
  m.hparams = std::move(*hparams);
  for (const std::string_view key : m.arch->host_tensors)
    if (const TensorEntry* t = m.header.tensors.find(std::string(key))) {
      std::vector<float>& values = m.host[t->name];
      values.resize(static_cast<size_t>(t->n_rows * t->n_cols));
      decode_row(*t->dtype, m.bytes.data() + t->pieces[0].offset, t->n_rows * t->n_cols, values.data());
    }
  return m;
}

// The tensor's bytes, all its pieces one after the other.
inline Bytes tensor_bytes(const TinyModel& m, const TensorEntry& t) {
  const uint64_t row = t.bytes / static_cast<uint64_t>(t.n_rows);
  Bytes out;
  for (const TensorPiece& piece : t.pieces) {
    const auto begin = m.bytes.begin() + static_cast<std::ptrdiff_t>(piece.offset);
    out.insert(out.end(), begin,
               begin + static_cast<std::ptrdiff_t>(row * static_cast<uint64_t>(piece.n_rows)));
  }
  return out;
}

// Builds the graph and fills a back end with it.
inline void fill_backend(const TinyModel& m, Backend& backend, const Extents& extents) {
  GraphBuilder builder(m.header.tensors);
  HParams hparams = m.hparams;
  hparams.n_ctx = extents.n_ctx;
  m.arch->build(builder, hparams, m.host);
  auto graph = builder.finish();
  REQUIRE_MESSAGE(graph.ok(), graph.status().message());
  const std::vector<WeightSpec> weights = graph->weights;
  const Status allocated = backend.allocate(std::move(*graph), extents);
  REQUIRE_MESSAGE(allocated.ok(), allocated.message());
  for (size_t i = 0; i < weights.size(); ++i) {
    const TensorEntry& t = *m.header.tensors.find(weights[i].name);
    const WeightSpec& w = weights[i];
    const bool of_row = w.n_cols < t.n_cols;  // a part of a vector
    const auto row = static_cast<size_t>(row_bytes(w.dtype, w.n_cols));
    const size_t skip =
        of_row ? static_cast<size_t>(row_bytes(w.dtype, w.first)) : static_cast<size_t>(w.first) * row;
    const Bytes bytes = tensor_bytes(m, t);
    const Status status = backend.upload(static_cast<WeightId>(i), 0, w.n_rows,
                                         std::span(bytes).subspan(skip, static_cast<size_t>(w.n_rows) * row));
    REQUIRE_MESSAGE(status.ok(), status.message());
  }
}

// The logits at ascending positions of one step over all tokens.
inline std::vector<std::vector<float>> run_whole(Backend& backend, const std::vector<int32_t>& tokens,
                                                 const std::vector<int32_t>& positions) {
  const Status status = backend.run({tokens, 0, positions});
  REQUIRE_MESSAGE(status.ok(), status.message());
  std::vector<std::vector<float>> out;
  for (size_t i = 0; i < positions.size(); ++i) {
    const auto row = backend.logits(static_cast<int64_t>(i));
    out.emplace_back(row.begin(), row.end());
  }
  return out;
}

// Relative root mean square difference.
inline double nrmse(const std::vector<float>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = static_cast<double>(got[i]) - want[i];
    error += difference * difference;
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);
}

// The distance that tiny models may have on the CPU from logits in double precision: f32 sums of up to 100
// terms, five in a row per layer and two layers, give about sqrt(100) * 10 * 2^-24 = 6e-6; keys, values,
// queries and softmax weights are rounded to about 14 bits (2^-14 of the largest each, averaged over heads
// and positions), which dominates: two layers of that add up to at most 5e-4.
constexpr double kTinyCpuTolerance = 5e-4;

}  // namespace nutshell::test
