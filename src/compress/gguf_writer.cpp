#include "compress/gguf_writer.h"

#include <bit>

namespace nutshell::compress {
namespace {

template <typename T>
void put(std::vector<uint8_t>& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i)
    out.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
}

void put_string(std::vector<uint8_t>& out, std::string_view s) {
  put<uint64_t>(out, s.size());
  out.insert(out.end(), s.begin(), s.end());
}

}  // namespace

GgufWriter::GgufWriter(const GgufFile& source)
    : alignment_(source.alignment()),
      n_keys_(source.entries().size()),
      keys_(source.key_bytes().begin(), source.key_bytes().end()) {}

void GgufWriter::begin(std::string_view key, GgufType type) {
  ++n_keys_;
  put_string(keys_, key);
  put<uint32_t>(keys_, static_cast<uint32_t>(type));
}

void GgufWriter::begin_array(std::string_view key, GgufType element, uint64_t count) {
  begin(key, GgufType::array);
  put<uint32_t>(keys_, static_cast<uint32_t>(element));
  put<uint64_t>(keys_, count);
}

void GgufWriter::add(std::string_view key, uint32_t value) {
  begin(key, GgufType::u32);
  put<uint32_t>(keys_, value);
}
void GgufWriter::add(std::string_view key, uint64_t value) {
  begin(key, GgufType::u64);
  put<uint64_t>(keys_, value);
}
void GgufWriter::add(std::string_view key, float value) {
  begin(key, GgufType::f32);
  put<uint32_t>(keys_, std::bit_cast<uint32_t>(value));
}
void GgufWriter::add(std::string_view key, std::string_view value) {
  begin(key, GgufType::string);
  put_string(keys_, value);
}
void GgufWriter::add(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, GgufType::string, values.size());
  for (const std::string& v : values) put_string(keys_, v);
}
void GgufWriter::add(std::string_view key, const std::vector<uint16_t>& values) {
  begin_array(key, GgufType::u16, values.size());
  for (const uint16_t v : values) put<uint16_t>(keys_, v);
}
void GgufWriter::add(std::string_view key, const std::vector<uint32_t>& values) {
  begin_array(key, GgufType::u32, values.size());
  for (const uint32_t v : values) put<uint32_t>(keys_, v);
}
void GgufWriter::add(std::string_view key, const std::vector<float>& values) {
  begin_array(key, GgufType::f32, values.size());
  for (const float v : values) put<uint32_t>(keys_, std::bit_cast<uint32_t>(v));
}
void GgufWriter::add_bytes(std::string_view key, std::span<const uint8_t> values, GgufType element) {
  begin_array(key, element, values.size());
  keys_.insert(keys_.end(), values.begin(), values.end());
}

std::vector<uint8_t> GgufWriter::header(const std::vector<TensorOut>& tensors) const {
  std::vector<uint8_t> out{'G', 'G', 'U', 'F'};
  put<uint32_t>(out, 3);
  put<uint64_t>(out, tensors.size());
  put<uint64_t>(out, n_keys_);
  out.insert(out.end(), keys_.begin(), keys_.end());
  uint64_t offset = 0;
  for (const TensorOut& t : tensors) {
    put_string(out, t.name);
    put<uint32_t>(out, static_cast<uint32_t>(t.dims.size()));
    for (const uint64_t d : t.dims) put<uint64_t>(out, d);
    put<uint32_t>(out, t.type_id);
    put<uint64_t>(out, offset);
    offset += padded(t.bytes);
  }
  out.resize(padded(out.size()), 0);
  return out;
}

}  // namespace nutshell::compress
