#include "model/hf/safetensors.h"

#include <algorithm>

#include "base/bytes.h"
#include "model/gguf.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

using nlohmann::json;

constexpr size_t kMaxTensors = 1u << 17, kMaxDims = 8;
constexpr int64_t kMaxValues = int64_t{1} << 40;

// Bytes per value of the types the format knows; 0 for others, whose sizes cannot be checked.
uint64_t value_bytes(std::string_view dtype) {
  constexpr struct {
    std::string_view name;
    uint64_t bytes;
  } kTypes[] = {{"F64", 8},     {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
                {"F8_E8M0", 1}, {"C64", 8}, {"I64", 8}, {"I32", 4},  {"I16", 2},     {"I8", 1},
                {"U64", 8},     {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}};
  for (const auto& type : kTypes)
    if (type.name == dtype) return type.bytes;
  return 0;
}

std::string num(uint64_t n) { return std::to_string(n); }

class Parser {
 public:
  Parser(const std::string& file, uint64_t data_start, uint64_t data_bytes)
      : file_(file), data_start_(data_start), data_bytes_(data_bytes) {}

  Result<std::vector<SafetensorsTensor>> parse(const json& root) {
    if (root.size() > kMaxTensors)
      return fail(ErrorCode::limit_exceeded, {}, "has " + num(root.size()) + " tensors");
    std::vector<SafetensorsTensor> tensors;
    tensors.reserve(root.size());
    for (const auto& [name, entry] : root.items()) {
      if (name == "__metadata__") continue;
      SafetensorsTensor tensor;
      tensor.name = name;
      RETURN_IF_ERROR(read(entry, tensor));
      tensors.push_back(std::move(tensor));
    }
    std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.name < b.name;
    });
    RETURN_IF_ERROR(check_layout(tensors));
    return tensors;
  }

 private:
  Status fail(ErrorCode code, const std::string& tensor, const std::string& what) const {
    return {code, nutshell::quoted(file_) +
                      (tensor.empty() ? " " : ": the tensor " + nutshell::quoted(tensor) + " ") + what};
  }

  Status read(const json& entry, SafetensorsTensor& t) const {
    const auto wrong = [&](const std::string& what) { return fail(ErrorCode::corrupt_file, t.name, what); };
    if (t.name.empty()) return wrong("has an empty name");
    if (!entry.is_object()) return wrong("is not described by an object");
    const auto dtype = entry.find("dtype"), shape = entry.find("shape"), offsets = entry.find("data_offsets");
    if (dtype == entry.end() || !dtype->is_string()) return wrong("has no dtype");
    if (shape == entry.end() || !shape->is_array()) return wrong("has no shape");
    if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
        !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned())
      return wrong("has no two data_offsets");
    t.dtype = dtype->get<std::string>();
    RETURN_IF_ERROR(read_shape(*shape, t));
    const auto begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
    if (begin > end) return wrong("begins at " + num(begin) + " and ends at " + num(end));
    if (end > data_bytes_)
      return fail(ErrorCode::truncated, t.name,
                  "ends at byte " + num(end) + " of the data, which has " + num(data_bytes_));
    t.offset = data_start_ + begin;
    t.bytes = end - begin;
    const uint64_t size = value_bytes(t.dtype);
    if (size > 0 && t.bytes != size * static_cast<uint64_t>(t.n_values()))
      return wrong("has " + num(t.bytes) + " bytes, its shape and the dtype " + t.dtype + " need " +
                   num(size * static_cast<uint64_t>(t.n_values())));
    return {};
  }

  Status read_shape(const json& shape, SafetensorsTensor& t) const {
    if (shape.size() > kMaxDims)
      return fail(ErrorCode::limit_exceeded, t.name, "has " + num(shape.size()) + " dimensions");
    int64_t values = 1;
    for (const json& extent : shape) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() == 0)
        return fail(ErrorCode::corrupt_file, t.name, "has an extent that is not a positive integer");
      const auto n = extent.get<uint64_t>();
      if (n >= static_cast<uint64_t>(kMaxValues) || static_cast<int64_t>(n) > kMaxValues / values)
        return fail(ErrorCode::limit_exceeded, t.name, "has more values than any real tensor");
      values *= static_cast<int64_t>(n);
      t.shape.push_back(static_cast<int64_t>(n));
    }
    return {};
  }

  // tensors: by offset.
  Status check_layout(const std::vector<SafetensorsTensor>& tensors) const {
    uint64_t end = data_start_;
    const SafetensorsTensor* previous = nullptr;
    for (const SafetensorsTensor& t : tensors) {
      if (t.offset < end)
        return fail(ErrorCode::corrupt_file, t.name,
                    "overlaps the tensor " + nutshell::quoted(previous->name));
      if (t.offset > end)
        return fail(ErrorCode::corrupt_file, t.name, "follows a hole of " + num(t.offset - end) + " bytes");
      end = t.offset + t.bytes;
      previous = &t;
    }
    if (const uint64_t rest = data_start_ + data_bytes_ - end; rest > 0)
      return fail(ErrorCode::corrupt_file, {}, "has " + num(rest) + " bytes that belong to no tensor");
    return {};
  }

  const std::string& file_;
  const uint64_t data_start_, data_bytes_;
};

}  // namespace

int64_t SafetensorsTensor::n_values() const {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return n;
}

Result<uint64_t> safetensors_header_bytes(std::span<const uint8_t> first, uint64_t file_bytes,
                                          const std::string& file) {
  if (file_bytes < kSafetensorsLengthBytes + 2 || first.size() < kSafetensorsLengthBytes)
    return Status(ErrorCode::truncated, nutshell::quoted(file) + " has only " + num(file_bytes) + " bytes");
  const auto length = load_le<uint64_t>(first.data());
  if (length > kSafetensorsMaxHeaderBytes) {  // eight letters are a number beyond the limit too
    const std::string_view text(reinterpret_cast<const char*>(first.data()), kSafetensorsLengthBytes);
    if (text.starts_with("version ") || text.starts_with("<") || text.starts_with("GGUF") ||
        text.starts_with("PK\x03\x04"))
      return Status(ErrorCode::bad_magic,
                    nutshell::quoted(file) + " is not a safetensors file: " +
                        (text[0] == 'v'   ? "it is a Git LFS pointer, not the file it points to"
                         : text[0] == '<' ? "it is a web page"
                         : text[0] == 'P' ? "it is a ZIP archive (or a PyTorch checkpoint)"
                                          : "it is a GGUF model"));
    return Status(ErrorCode::limit_exceeded, nutshell::quoted(file) + " has a header of " + num(length) +
                                                 " bytes, the limit is " + num(kSafetensorsMaxHeaderBytes));
  }
  if (length < 2) return Status(ErrorCode::corrupt_file, nutshell::quoted(file) + " has no header");
  if (length > file_bytes - kSafetensorsLengthBytes)
    return Status(ErrorCode::truncated, nutshell::quoted(file) + " ends inside its header: it has " +
                                            num(file_bytes) + " bytes, the header " + num(length));
  return kSafetensorsLengthBytes + length;
}

Result<std::vector<SafetensorsTensor>> parse_safetensors(std::span<const uint8_t> header, uint64_t file_bytes,
                                                         const std::string& file) {
  ASSIGN_OR_RETURN(const uint64_t bytes, safetensors_header_bytes(header, file_bytes, file));
  if (header.size() != bytes)
    return Status(ErrorCode::invalid_argument, "not the whole header of " + nutshell::quoted(file));
  const std::string_view text(reinterpret_cast<const char*>(header.data()) + kSafetensorsLengthBytes,
                              static_cast<size_t>(bytes - kSafetensorsLengthBytes));
  ASSIGN_OR_RETURN(const json root, parse_json_object(text, file, true));
  return Parser(file, bytes, file_bytes - bytes).parse(root);
}

}  // namespace nutshell
