// Builds GGUF files in memory for tests: valid ones by default, lying ones on purpose (broken_gguf.h).
//
//   GgufWriter w;
//   w.add("general.architecture", "llama");
//   w.add("llama.block_count", uint32_t{2});
//   w.add_array<float>("x", {1, 2});
//   w.add_tensor("a.weight", {32, 2}, DType::q8_0, bytes);   // dims[0] is contiguous
//   std::vector<uint8_t> file = w.build();
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "model/gguf.h"

namespace nutshell::test {

using Bytes = std::vector<uint8_t>;

template <typename T>
void put(Bytes& out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  const auto* p = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), p, p + sizeof(T));
}
inline void put_string(Bytes& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out.insert(out.end(), text.begin(), text.end());
}

// The type id of a C++ type; bool is 'boolean'.
template <typename T>
constexpr GgufType gguf_type() {
  if constexpr (std::is_same_v<T, bool>)
    return GgufType::boolean;
  else if constexpr (std::is_same_v<T, float>)
    return GgufType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return GgufType::f64;
  else if constexpr (sizeof(T) == 1)
    return std::is_signed_v<T> ? GgufType::i8 : GgufType::u8;
  else if constexpr (sizeof(T) == 2)
    return std::is_signed_v<T> ? GgufType::i16 : GgufType::u16;
  else if constexpr (sizeof(T) == 4)
    return std::is_signed_v<T> ? GgufType::i32 : GgufType::u32;
  else
    return std::is_signed_v<T> ? GgufType::i64 : GgufType::u64;
}

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type = 0;
    Bytes data;
    // Lies: what is written instead of the truth.
    std::optional<uint32_t> n_dims;
    std::optional<uint64_t> offset, name_length;
  };

  template <typename T>
  void add(std::string_view key, T value) {
    if constexpr (std::is_arithmetic_v<T>) {
      Bytes content;
      put(content, value);
      add_raw(key, static_cast<uint32_t>(gguf_type<T>()), content);
    } else {
      Bytes content;
      put_string(content, value);
      add_raw(key, static_cast<uint32_t>(GgufType::string), content);
    }
  }
  template <typename T>
  void add_array(std::string_view key, const std::vector<T>& values) {
    Bytes content;
    put(content, static_cast<uint32_t>(gguf_type<T>()));
    put<uint64_t>(content, values.size());
    for (const T value : values) put(content, value);
    add_raw(key, static_cast<uint32_t>(GgufType::array), content);
  }
  void add_strings(std::string_view key, const std::vector<std::string>& values) {
    Bytes content;
    put(content, static_cast<uint32_t>(GgufType::string));
    put<uint64_t>(content, values.size());
    for (const std::string& value : values) put_string(content, value);
    add_raw(key, static_cast<uint32_t>(GgufType::array), content);
  }
  // Any type id with any content.
  void add_raw(std::string_view key, uint32_t type, const Bytes& content) {
    Bytes kv;
    put_string(kv, key);
    put(kv, type);
    kv.insert(kv.end(), content.begin(), content.end());
    keys.push_back(std::move(kv));
  }
  // Also writes the key, which is needed for anything but 32.
  void set_alignment(uint32_t value) {
    alignment = value;
    add("general.alignment", value);
  }
  Tensor& add_tensor(std::string name, std::vector<uint64_t> dims, DType dtype, Bytes data) {
    return tensors.emplace_back(
        Tensor{std::move(name), std::move(dims), info_of(dtype).gguf_id, std::move(data), {}, {}, {}});
  }

  Bytes build() const {
    Bytes out(magic.begin(), magic.end());
    put(out, version);
    put(out, n_tensors.value_or(tensors.size()));
    put(out, n_keys.value_or(keys.size()));
    for (const Bytes& kv : keys) out.insert(out.end(), kv.begin(), kv.end());
    Bytes data;
    for (const Tensor& t : tensors) {
      data.resize((data.size() + alignment - 1) / alignment * alignment);
      put(out, t.name_length.value_or(t.name.size()));
      out.insert(out.end(), t.name.begin(), t.name.end());
      put(out, t.n_dims.value_or(static_cast<uint32_t>(t.dims.size())));
      for (const uint64_t dim : t.dims) put(out, dim);
      put(out, t.type);
      put(out, t.offset.value_or(data.size()));
      data.insert(data.end(), t.data.begin(), t.data.end());
    }
    if (!tensors.empty()) out.resize((out.size() + alignment - 1) / alignment * alignment);
    out.insert(out.end(), data.begin(), data.end());
    return out;
  }

  // All may be changed freely before build().
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::optional<uint64_t> n_keys, n_tensors;  // lies
  std::vector<Bytes> keys;                    // whole key-value pairs
  std::vector<Tensor> tensors;
};

// A small valid file with every kind of value and three tensors.
inline GgufWriter small_gguf() {
  GgufWriter w;
  w.add("general.architecture", "llama");
  w.add("a.u8", uint8_t{200});
  w.add("a.i8", int8_t{-5});
  w.add("a.u16", uint16_t{60000});
  w.add("a.i16", int16_t{-300});
  w.add("a.u32", uint32_t{4000000000});
  w.add("a.i32", int32_t{-70000});
  w.add("a.u64", uint64_t{1} << 63);
  w.add("a.i64", int64_t{-5000000000});
  w.add("a.f32", 1.5f);
  w.add("a.f64", 0.25);
  w.add("a.bool", true);
  w.add_strings("tokenizer.tokens", {"<s>", "", "caf\xc3\xa9"});
  w.add_array<int32_t>("tokenizer.types", {1, -2, 3});
  w.add_array<float>("tokenizer.scores", {-1.0f, 0.5f});
  w.add_array<bool>("a.bools", {true, false});
  w.add_tensor("token_embd.weight", {32, 3}, DType::q8_0, Bytes(3 * 34, 1));
  w.add_tensor("output_norm.weight", {5}, DType::f32, Bytes(20, 2));
  w.add_tensor("cube", {2, 3, 4, 5}, DType::f16, Bytes(240, 3));
  return w;
}

}  // namespace nutshell::test
