// Typed access to GGUF metadata: the getters of GgufFile (gguf.h).
#include <cmath>

#include "model/gguf.h"

namespace nutshell {
namespace {

// Bytes of n elements at p, which the parser has checked.
size_t element_bytes(GgufType type, uint64_t n, const uint8_t* p) {
  if (scalar_bytes(type) > 0) return static_cast<size_t>(n * scalar_bytes(type));
  size_t bytes = 0;
  for (uint64_t i = 0; i < n; ++i) {
    if (type == GgufType::string) {
      bytes += 8 + static_cast<size_t>(load_le<uint64_t>(p + bytes));
    } else {
      const auto inner = static_cast<GgufType>(load_le<uint32_t>(p + bytes));
      const auto count = load_le<uint64_t>(p + bytes + 4);
      bytes += 12;
      bytes += element_bytes(inner, count, p + bytes);
    }
  }
  return bytes;
}

// An integer of the file, as its type and 64 bits; nothing for other types.
struct Integer {
  bool negative = false;
  uint64_t magnitude_bits = 0;  // the value itself; two's complement when negative
};

Integer from_signed(int64_t v) { return {v < 0, static_cast<uint64_t>(v)}; }

std::optional<Integer> load_integer(GgufType type, const uint8_t* p) {
  switch (type) {
    case GgufType::u8:
      return Integer{false, *p};
    case GgufType::i8:
      return from_signed(load_le<int8_t>(p));
    case GgufType::u16:
      return Integer{false, load_le<uint16_t>(p)};
    case GgufType::i16:
      return from_signed(load_le<int16_t>(p));
    case GgufType::u32:
      return Integer{false, load_le<uint32_t>(p)};
    case GgufType::i32:
      return from_signed(load_le<int32_t>(p));
    case GgufType::u64:
      return Integer{false, load_le<uint64_t>(p)};
    case GgufType::i64:
      return from_signed(load_le<int64_t>(p));
    default:
      return std::nullopt;
  }
}

std::optional<int64_t> as_i64(const Integer& v) {
  if (!v.negative && v.magnitude_bits > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(v.magnitude_bits);
}

std::string in_words(const GgufFile::Value& value) {
  if (value.type != GgufType::array) return std::string(name_of(value.type));
  return "array of " + std::string(name_of(value.element));
}

Status does_not_fit(std::string_view key, const Integer& v, std::string_view wanted) {
  const std::string shown =
      v.negative ? std::to_string(static_cast<int64_t>(v.magnitude_bits)) : std::to_string(v.magnitude_bits);
  return {ErrorCode::corrupt_file, "the metadata key " + quoted(key) + " has the value " + shown +
                                       ", which is no " + std::string(wanted)};
}

}  // namespace

std::string_view name_of(GgufType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(type)];
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = tensor_index_.find(std::string(name));
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto it = key_index_.find(std::string(key));
  return it == key_index_.end() ? nullptr : &entries_[it->second].value;
}

std::span<const uint8_t> GgufFile::content(const Value& value) const {
  if (value.type == GgufType::string) return {at(value), static_cast<size_t>(value.count)};
  const bool array = value.type == GgufType::array;
  return {at(value), element_bytes(array ? value.element : value.type, value.count, at(value))};
}

bool GgufFile::is_array(std::string_view key) const {
  const Value* value = find(key);
  return value != nullptr && value->type == GgufType::array;
}

Result<const GgufFile::Value*> GgufFile::require(std::string_view key) const {
  if (const Value* value = find(key)) return value;
  return Status(ErrorCode::missing_metadata, "the file lacks the metadata key " + quoted(key));
}

Status GgufFile::wrong_type(std::string_view key, const Value& value, std::string_view wanted) const {
  return {ErrorCode::corrupt_file, "the metadata key " + quoted(key) + " is of the type " + in_words(value) +
                                       " where " + std::string(wanted) + " is expected"};
}

Result<uint32_t> GgufFile::get_u32(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  const auto v = load_integer(value->type, at(*value));
  if (!v) return wrong_type(key, *value, "an integer");
  if (v->negative || v->magnitude_bits > UINT32_MAX) return does_not_fit(key, *v, "unsigned 32-bit integer");
  return static_cast<uint32_t>(v->magnitude_bits);
}

Result<int64_t> GgufFile::get_i64(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  const auto v = load_integer(value->type, at(*value));
  if (!v) return wrong_type(key, *value, "an integer");
  const auto fits = as_i64(*v);
  if (!fits) return does_not_fit(key, *v, "signed 64-bit integer");
  return *fits;
}

Result<float> GgufFile::get_f32(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  double v = 0;
  if (value->type == GgufType::f32) {
    v = load_le<float>(at(*value));
  } else if (value->type == GgufType::f64) {
    v = load_le<double>(at(*value));
  } else if (const auto integer = load_integer(value->type, at(*value))) {
    v = integer->negative ? static_cast<double>(static_cast<int64_t>(integer->magnitude_bits))
                          : static_cast<double>(integer->magnitude_bits);
  } else {
    return wrong_type(key, *value, "a number");
  }
  // Compared as doubles: converting what does not fit a float is undefined.
  if (!(std::fabs(v) <= 3.4028234663852886e38))
    return Status(ErrorCode::corrupt_file,
                  "the metadata key " + quoted(key) + " is not a finite 32-bit number");
  return static_cast<float>(v);
}

Result<bool> GgufFile::get_bool(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  if (value->type != GgufType::boolean) return wrong_type(key, *value, "a boolean");
  return *at(*value) == 1;
}

Result<std::string> GgufFile::get_string(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  if (value->type != GgufType::string) return wrong_type(key, *value, "a string");
  return std::string(reinterpret_cast<const char*>(at(*value)), static_cast<size_t>(value->count));
}

Result<GgufStrings> GgufFile::get_strings(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  if (value->type != GgufType::array || (value->element != GgufType::string && value->count > 0))
    return wrong_type(key, *value, "an array of strings");
  return GgufStrings(metadata_.data(), value->string_offsets);
}

Result<std::vector<int64_t>> GgufFile::get_i64s(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  const bool floats = value->element == GgufType::f32 || value->element == GgufType::f64;
  const uint64_t size = floats ? 0 : scalar_bytes(value->element);
  if (value->type != GgufType::array || (size == 0 && value->count > 0))
    return wrong_type(key, *value, "an array of integers");
  const GgufType element = value->element == GgufType::boolean ? GgufType::u8 : value->element;
  std::vector<int64_t> out(static_cast<size_t>(value->count));
  for (size_t i = 0; i < out.size(); ++i) {
    const auto v = load_integer(element, at(*value) + i * size);
    const auto fits = as_i64(*v);
    if (!fits) return does_not_fit(key, *v, "signed 64-bit integer");
    out[i] = *fits;
  }
  return out;
}

Result<std::vector<float>> GgufFile::get_f32s(std::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, require(key));
  const bool is_double = value->element == GgufType::f64;
  if (value->type != GgufType::array || (!is_double && value->element != GgufType::f32 && value->count > 0))
    return wrong_type(key, *value, "an array of floats");
  std::vector<float> out(static_cast<size_t>(value->count));
  for (size_t i = 0; i < out.size(); ++i) {
    if (!is_double) {
      out[i] = load_le<float>(at(*value) + i * 4);
      continue;
    }
    const double v = load_le<double>(at(*value) + i * 8);
    if (std::isfinite(v) && std::fabs(v) > 3.4028234663852886e38)
      return Status(ErrorCode::corrupt_file,
                    "the metadata key " + quoted(key) + " has a value beyond 32-bit floats");
    out[i] = static_cast<float>(v);
  }
  return out;
}

// With a fallback: only an absent key is forgiven, not one of a wrong type.
Result<uint32_t> GgufFile::get_u32(std::string_view key, uint32_t fallback) const {
  return has(key) ? get_u32(key) : Result<uint32_t>(fallback);
}
Result<int64_t> GgufFile::get_i64(std::string_view key, int64_t fallback) const {
  return has(key) ? get_i64(key) : Result<int64_t>(fallback);
}
Result<float> GgufFile::get_f32(std::string_view key, float fallback) const {
  return has(key) ? get_f32(key) : Result<float>(fallback);
}
Result<bool> GgufFile::get_bool(std::string_view key, bool fallback) const {
  return has(key) ? get_bool(key) : Result<bool>(fallback);
}
Result<std::string> GgufFile::get_string(std::string_view key, std::string_view fallback) const {
  return has(key) ? get_string(key) : Result<std::string>(std::string(fallback));
}

}  // namespace nutshell
