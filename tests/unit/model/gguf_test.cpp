#include "model/model_header.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "support/broken_gguf.h"
#include "support/gguf_writer.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

GgufFile parse(const Bytes& bytes) {
  auto result = parse_gguf(bytes, bytes.size());
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  REQUIRE(result->has_value());
  return std::move(**result);
}

template <typename T>
ErrorCode code_of(const Result<T>& result) {
  return result.status().code();
}

bool names(const Status& status, std::string_view what) {
  return status.message().find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("a valid file gives back what was written, in both versions") {
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter w = small_gguf();
    w.version = version;
    const Bytes bytes = w.build();
    const GgufFile f = parse(bytes);
    CHECK(f.version() == version);
    CHECK(f.alignment() == 32);
    CHECK(f.file_bytes() == bytes.size());
    CHECK(f.entries().size() == w.keys.size());
    CHECK(f.entries()[0].key == "general.architecture");
    REQUIRE(f.tensors().size() == 3);
    const GgufTensor& embd = f.tensors()[0];
    CHECK(embd.name == "token_embd.weight");
    CHECK(embd.dtype == DType::q8_0);
    CHECK(embd.n_dims == 2);
    CHECK(embd.dims == std::array<int64_t, 4>{32, 3, 1, 1});
    CHECK(embd.bytes == 102);
    CHECK(embd.n_values() == 96);
    CHECK(f.tensors()[1].offset == 128);
    CHECK(f.tensors()[2].offset == 160);
    CHECK(f.find_tensor("cube") == &f.tensors()[2]);
    CHECK(f.find_tensor("cub") == nullptr);
    CHECK(f.data_offset() % 32 == 0);
    CHECK(f.data_offset() + 160 + 240 == bytes.size());
    for (const GgufTensor& t : f.tensors())
      CHECK(bytes[f.data_offset() + t.offset] == static_cast<uint8_t>(1 + (&t - f.tensors().data())));
  }
}

TEST_CASE("integer getters take any integer type that fits") {
  const GgufFile f = parse(small_gguf().build());
  CHECK(*f.get_u32("a.u8") == 200);
  CHECK(*f.get_u32("a.u16") == 60000);
  CHECK(*f.get_u32("a.u32") == 4000000000u);
  CHECK(*f.get_i64("a.i8") == -5);
  CHECK(*f.get_i64("a.i16") == -300);
  CHECK(*f.get_i64("a.i32") == -70000);
  CHECK(*f.get_i64("a.i64") == -5000000000);
  CHECK(*f.get_i64("a.u32") == 4000000000);
  for (const char* key : {"a.i8", "a.i16", "a.i32", "a.i64", "a.u64"}) {
    CHECK(code_of(f.get_u32(key)) == ErrorCode::corrupt_file);
    CHECK(names(f.get_u32(key).status(), key));
  }
  CHECK(code_of(f.get_i64("a.u64")) == ErrorCode::corrupt_file);
  CHECK(names(f.get_i64("a.u64").status(), "9223372036854775808"));
  for (const char* key : {"a.f32", "a.bool", "general.architecture", "tokenizer.types"}) {
    CHECK(code_of(f.get_u32(key)) == ErrorCode::corrupt_file);
    CHECK(code_of(f.get_i64(key)) == ErrorCode::corrupt_file);
    CHECK(code_of(f.get_i64(key, 3)) == ErrorCode::corrupt_file);  // a fallback does not hide a wrong type
  }
}

TEST_CASE("the other scalar getters, fallbacks and absent keys") {
  const GgufFile f = parse(small_gguf().build());
  CHECK(*f.get_f32("a.f32") == 1.5f);
  CHECK(*f.get_f32("a.f64") == 0.25f);
  CHECK(*f.get_f32("a.i16") == -300.0f);
  CHECK(*f.get_f32("a.u64") == 0x1p63f);
  CHECK(*f.get_bool("a.bool"));
  CHECK(*f.get_string("general.architecture") == "llama");
  CHECK(code_of(f.get_f32("a.bool")) == ErrorCode::corrupt_file);
  CHECK(code_of(f.get_bool("a.u8")) == ErrorCode::corrupt_file);
  CHECK(code_of(f.get_string("a.u8")) == ErrorCode::corrupt_file);

  CHECK(*f.get_u32("no", 7) == 7);
  CHECK(*f.get_i64("no", -7) == -7);
  CHECK(*f.get_f32("no", 0.5f) == 0.5f);
  CHECK(*f.get_bool("no", true));
  CHECK(*f.get_string("no", "x") == "x");
  CHECK(*f.get_u32("a.u8", 7) == 200);
  CHECK(code_of(f.get_u32("no")) == ErrorCode::missing_metadata);
  CHECK(code_of(f.get_i64("no")) == ErrorCode::missing_metadata);
  CHECK(code_of(f.get_f32("no")) == ErrorCode::missing_metadata);
  CHECK(code_of(f.get_bool("no")) == ErrorCode::missing_metadata);
  CHECK(code_of(f.get_string("no")) == ErrorCode::missing_metadata);
  CHECK(names(f.get_string("no").status(), "'no'"));
}

TEST_CASE("floats that are not finite 32-bit numbers are refused") {
  GgufWriter w;
  w.add("nan", std::numeric_limits<float>::quiet_NaN());
  w.add("infinite", std::numeric_limits<float>::infinity());
  w.add("large", 1e300);
  w.add("largest", static_cast<double>(std::numeric_limits<float>::max()));
  const GgufFile f = parse(w.build());
  for (const char* key : {"nan", "infinite", "large"})
    CHECK(code_of(f.get_f32(key)) == ErrorCode::corrupt_file);
  CHECK(*f.get_f32("largest") == std::numeric_limits<float>::max());
}

TEST_CASE("arrays") {
  GgufWriter w = small_gguf();
  w.add_array<uint64_t>("big", {1, ~uint64_t{0}});
  w.add_array<double>("doubles", {0.5, 1e300});
  w.add_array<uint8_t>("empty", {});
  w.add_raw("nested", static_cast<uint32_t>(GgufType::array), broken_detail::nested(kGgufMaxNesting));
  GgufFile made = parse(w.build());
  const GgufFile f = std::move(made);  // moving keeps everything valid
  const auto tokens = f.get_strings("tokenizer.tokens");
  REQUIRE(tokens.ok());
  REQUIRE(tokens->size() == 3);
  CHECK((*tokens)[0] == "<s>");
  CHECK((*tokens)[1] == "");
  CHECK((*tokens)[2] == "caf\xc3\xa9");
  CHECK(*f.get_i64s("tokenizer.types") == std::vector<int64_t>{1, -2, 3});
  CHECK(*f.get_i64s("a.bools") == std::vector<int64_t>{1, 0});
  CHECK(*f.get_f32s("tokenizer.scores") == std::vector<float>{-1.0f, 0.5f});
  CHECK(f.get_strings("empty")->size() == 0);
  CHECK(f.get_i64s("empty")->empty());
  CHECK(f.get_f32s("empty")->empty());
  CHECK(f.is_array("nested"));
  CHECK_FALSE(f.is_array("a.u8"));
  CHECK_FALSE(f.is_array("no"));
  CHECK(code_of(f.get_i64s("big")) == ErrorCode::corrupt_file);
  CHECK(code_of(f.get_f32s("doubles")) == ErrorCode::corrupt_file);
  for (const char* key : {"a.u8", "nested"}) {
    CHECK(code_of(f.get_strings(key)) == ErrorCode::corrupt_file);
    CHECK(code_of(f.get_i64s(key)) == ErrorCode::corrupt_file);
    CHECK(code_of(f.get_f32s(key)) == ErrorCode::corrupt_file);
  }
  CHECK(code_of(f.get_strings("tokenizer.types")) == ErrorCode::corrupt_file);
  CHECK(code_of(f.get_i64s("tokenizer.tokens")) == ErrorCode::corrupt_file);
  CHECK(code_of(f.get_f32s("tokenizer.types")) == ErrorCode::corrupt_file);
  CHECK(code_of(f.get_strings("no")) == ErrorCode::missing_metadata);
  CHECK(code_of(f.get_i64s("no")) == ErrorCode::missing_metadata);
  CHECK(code_of(f.get_f32s("no")) == ErrorCode::missing_metadata);
}

TEST_CASE("a prefix that ends inside the header asks for more, one that holds it suffices") {
  const Bytes bytes = small_gguf().build();
  // The last tensor info is the last that is read: no byte of padding or data is needed.
  size_t first_enough = 0;
  for (size_t n = 0; n <= bytes.size(); ++n) {
    const auto result = parse_gguf(std::span(bytes).first(n), bytes.size());
    INFO(n);
    REQUIRE(result.ok());
    if (result->has_value() && first_enough == 0) first_enough = n;
    CHECK(result->has_value() == (first_enough != 0));
  }
  const GgufFile f = parse(bytes);
  CHECK(f.data_offset() >= first_enough);
  CHECK(f.data_offset() < first_enough + 32);
}

TEST_CASE("a short prefix of a short file is an error at once, without the rest") {
  const Bytes bytes = small_gguf().build();
  // The file is said to end in the middle of the metadata, and less than that was given.
  const auto result = parse_gguf(std::span(bytes).first(24), 40);
  CHECK(code_of(result) == ErrorCode::truncated);
  CHECK(code_of(parse_gguf(bytes, bytes.size() - 1)) == ErrorCode::invalid_argument);
  CHECK(code_of(parse_gguf({}, 0)) == ErrorCode::truncated);
  const auto more = parse_gguf({}, 100);
  REQUIRE(more.ok());
  CHECK_FALSE(more->has_value());
}

TEST_CASE("every broken file is refused with its own error") {
  const std::vector<BrokenGguf> all = broken_ggufs();
  CHECK(all.size() - truncated_ggufs().size() >= 60);
  for (const BrokenGguf& broken : all) {
    INFO(broken.name);
    const auto result = parse_gguf(broken.bytes, broken.bytes.size());
    CHECK_FALSE(result.ok());
    INFO(result.status().message());
    CHECK(error_name(code_of(result)) == error_name(broken.code));
    CHECK(result.status().message().size() < 400);
  }
}

TEST_CASE("messages say what the file is, and name keys, tensors and numbers") {
  const auto message = [](const Bytes& bytes) { return parse_gguf(bytes, bytes.size()).status().message(); };
  const auto of = [&](auto change) {
    GgufWriter w = small_gguf();
    change(w);
    return message(w.build());
  };
  const auto has = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(message(broken_detail::text("  <!doctype html>")), "web page"));
  CHECK(has(message(broken_detail::text("version https://git-lfs.github.com/spec/v1")), "Git LFS"));
  CHECK(has(message({0x8f, 0, 1, 2}), "'\\x8f\\x00\\x01\\x02'"));
  CHECK(has(message({}), "empty"));
  CHECK(has(of([](GgufWriter& w) { w.version = 0x03000000; }), "big-endian"));
  CHECK(has(of([](GgufWriter& w) { w.version = 1; }), "version 1"));
  CHECK(has(of([](GgufWriter& w) { w.tensors[1].offset = 0; }),
            "'token_embd.weight' and 'output_norm.weight'"));
  CHECK(has(of([](GgufWriter& w) { w.tensors[2].dims[1] = 0; }), "'cube' has the extent 0 in dimension 1"));
  CHECK(has(of([](GgufWriter& w) { w.add("a.u8", true); }), "'a.u8' occurs twice"));
  CHECK(has(of([](GgufWriter& w) { w.n_tensors = uint64_t{1} << 40; }), "1099511627776"));
}

TEST_CASE("formats that cannot be run are listed, and refused by name") {
  GgufWriter w = small_gguf();
  w.add_tensor("exotic", {256, 2}, DType::f32, Bytes(132, 0)).type = 16;  // IQ2_XXS
  w.add_tensor("unknown", {7}, DType::f32, Bytes(64, 0)).type = 77;
  const GgufFile f = parse(w.build());
  const GgufTensor& exotic = *f.find_tensor("exotic");
  CHECK_FALSE(exotic.dtype.has_value());
  CHECK(exotic.format_name() == "IQ2_XXS");
  CHECK(exotic.bytes == 132);
  const ModelHeader header = header_of(parse(w.build()));
  CHECK(header.tensors.find("token_embd.weight")->check_supported().ok());
  const Status refused = header.tensors.find("exotic")->check_supported();
  CHECK(refused.code() == ErrorCode::unsupported_format);
  for (const char* part : {"'exotic'", "IQ2_XXS", "Q4_K"}) CHECK(names(refused, part));
  const GgufTensor& unknown = *f.find_tensor("unknown");
  CHECK(unknown.bytes == 0);
  CHECK(unknown.format_name() == "ggml_type 77");
}

TEST_CASE("alignment, and a file without tensors") {
  GgufWriter w = small_gguf();
  w.set_alignment(4096);
  const GgufFile f = parse(w.build());
  CHECK(f.alignment() == 4096);
  CHECK(f.data_offset() == 4096);
  CHECK(f.tensors()[2].offset == 8192);
  GgufWriter vocabulary = small_gguf();
  vocabulary.tensors.clear();
  const Bytes bytes = vocabulary.build();
  CHECK(parse(bytes).data_offset() == bytes.size());
}
