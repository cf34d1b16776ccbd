// The GGUF header parser: see gguf.h for the format and the rules. Getters are in gguf_values.cpp.
#include "model/gguf.h"

#include <algorithm>
#include <numeric>

namespace nutshell {
namespace {

constexpr uint64_t kMaxHeaderBytes = 1u << 28;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;             // name of one byte, type, value of one byte
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // name of one byte, one dimension

struct Format {
  std::string_view name;
  int64_t block_length, block_bytes;
};

// Formats of ggml that this engine does not run; known so that files with them are still checked and listed.
// Source: GGML_QUANT_SIZES of the gguf Python package 0.19.
constexpr struct {
  uint32_t id;
  Format format;
} kOtherFormats[] = {
    {9, {"Q8_1", 32, 40}},     {15, {"Q8_K", 256, 292}},   {16, {"IQ2_XXS", 256, 66}},
    {17, {"IQ2_XS", 256, 74}}, {18, {"IQ3_XXS", 256, 98}}, {19, {"IQ1_S", 256, 50}},
    {21, {"IQ3_S", 256, 110}}, {22, {"IQ2_S", 256, 82}},   {24, {"I8", 1, 1}},
    {25, {"I16", 1, 2}},       {26, {"I32", 1, 4}},        {27, {"I64", 1, 8}},
    {28, {"F64", 1, 8}},       {29, {"IQ1_M", 256, 56}},   {34, {"TQ1_0", 256, 54}},
    {35, {"TQ2_0", 256, 66}},  {40, {"NVFP4", 64, 36}},    {41, {"Q1_0", 128, 18}},
};

std::optional<Format> format_of(uint32_t id) {
  if (const auto dtype = dtype_of_gguf_id(id)) {
    const DTypeInfo& info = info_of(*dtype);
    return Format{info.name, info.block_length, info.block_bytes};
  }
  for (const auto& other : kOtherFormats)
    if (other.id == id) return other.format;
  return std::nullopt;
}

std::string num(uint64_t n) { return std::to_string(n); }

// What a file that is not GGUF most likely is.
std::string describe_other_file(std::span<const uint8_t> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 256));
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  while (!text.empty() && (text[0] == ' ' || text[0] == '\n' || text[0] == '\r' || text[0] == '\t'))
    text.remove_prefix(1);
  if (text.starts_with("<!") || text.starts_with("<h") || text.starts_with("<H") || text.starts_with("<?xml"))
    return "this is a web page, not a model: the address answers with HTML";
  if (text.starts_with("version https://git-lfs"))
    return "this is a Git LFS pointer, not the model it points to";
  if (text.starts_with("PK\x03\x04"))
    return "this is a ZIP archive (or a PyTorch checkpoint), not a GGUF model";
  if (text.starts_with("FUGG"))
    return "the first four bytes are GGUF backwards: the file's byte order is broken";
  if (bytes.size() > 9 && bytes[8] == '{' && bytes[6] == 0 && bytes[7] == 0)
    return "this looks like a safetensors file, not a GGUF model";
  if (text.starts_with("{")) return "this is JSON text, not a model";
  return "the file begins with " + quoted(text.substr(0, 4)) + " instead of 'GGUF'";
}

}  // namespace

uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      return 0;
  }
  return 0;
}

std::string quoted(std::string_view name) {
  constexpr size_t kShown = 64;
  std::string out = "'";
  for (const char c : name.substr(0, kShown)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      constexpr char kHex[] = "0123456789abcdef";
      out += {'\\', 'x', kHex[(c >> 4) & 15], kHex[c & 15]};
    }
  }
  return out + (name.size() > kShown ? "...'" : "'");
}

std::string GgufTensor::format_name() const {
  const auto format = format_of(type_id);
  return format ? std::string(format->name) : "ggml_type " + num(type_id);
}

// One attempt at a prefix. A read beyond the prefix sets need_more_ and answers an error that only stops the
// parsing; a read beyond the file is the error `truncated`.
class GgufParser {
 public:
  GgufParser(std::span<const uint8_t> prefix, uint64_t file_bytes)
      : prefix_(prefix), file_bytes_(file_bytes), reader_(prefix) {}

  Result<std::optional<GgufFile>> parse() {
    const Status status = parse_all();
    if (need_more_) return std::optional<GgufFile>();
    if (!status.ok()) return status;
    return std::optional<GgufFile>(std::move(file_));
  }

 private:
  Status parse_all() {
    RETURN_IF_ERROR(parse_start());
    file_.file_bytes_ = file_bytes_;
    file_.entries_.reserve(std::min<uint64_t>(n_keys_, reader_.remaining() / kMinKeyBytes));
    for (uint64_t i = 0; i < n_keys_; ++i) RETURN_IF_ERROR(parse_key(i));
    RETURN_IF_ERROR(read_alignment());
    const size_t metadata_end = reader_.position();
    file_.tensors_.reserve(std::min<uint64_t>(n_tensors_, reader_.remaining() / kMinTensorBytes));
    for (uint64_t i = 0; i < n_tensors_; ++i) RETURN_IF_ERROR(parse_tensor(i));
    RETURN_IF_ERROR(check_layout());
    file_.metadata_.assign(prefix_.begin(), prefix_.begin() + static_cast<std::ptrdiff_t>(metadata_end));
    return {};
  }

  // n bytes follow, or the reason why not.
  Status need(uint64_t n, const std::string& what) {
    const uint64_t position = reader_.position();
    if (n > file_bytes_ - position)
      return {ErrorCode::truncated, "the file ends inside its header: " + what + " needs " + num(n) +
                                        " bytes at offset " + num(position) + ", the file has " +
                                        num(file_bytes_)};
    if (position + n > kMaxHeaderBytes)
      return {ErrorCode::limit_exceeded, "the header is longer than " + num(kMaxHeaderBytes) + " bytes"};
    if (n <= reader_.remaining()) return {};
    need_more_ = true;
    return {ErrorCode::truncated, {}};
  }
  template <typename T>
  Status read(T& out, const std::string& what) {
    RETURN_IF_ERROR(need(sizeof(T), what));
    reader_.read(out);
    return {};
  }
  Status read_string(std::string_view& out, uint64_t limit, const std::string& what) {
    uint64_t length = 0;
    RETURN_IF_ERROR(read(length, what));
    if (length > limit)
      return {ErrorCode::limit_exceeded,
              what + " is " + num(length) + " bytes long, the limit is " + num(limit)};
    RETURN_IF_ERROR(need(length, what));
    reader_.view(length, out);
    return {};
  }

  // Magic, version and the two counts.
  Status parse_start() {
    if (file_bytes_ == 0) return {ErrorCode::truncated, "the file is empty"};
    const size_t n = std::min<size_t>(prefix_.size(), 4);
    if (n > 0 && std::memcmp(prefix_.data(), "GGUF", n) != 0)
      return {ErrorCode::bad_magic, describe_other_file(prefix_)};
    RETURN_IF_ERROR(need(4, "the magic number"));
    reader_.skip(4);
    RETURN_IF_ERROR(read(file_.version_, "the version"));
    if (const uint32_t v = file_.version_; v != 2 && v != 3) {
      if ((v & 0xffff) == 0 && v != 0)
        return {ErrorCode::bad_version, "this is a big-endian GGUF file (version " +
                                            num(__builtin_bswap32(v)) +
                                            "), only little-endian ones are supported"};
      return {ErrorCode::bad_version, "the file has GGUF version " + num(v) + ", supported are 2 and 3"};
    }
    RETURN_IF_ERROR(read(n_tensors_, "the number of tensors"));
    RETURN_IF_ERROR(read(n_keys_, "the number of metadata keys"));
    RETURN_IF_ERROR(check_count(n_tensors_, kGgufMaxTensors, kMinTensorBytes, "the number of tensors"));
    RETURN_IF_ERROR(check_count(n_keys_, kGgufMaxKeys, kMinKeyBytes, "the number of metadata keys"));
    return {};
  }

  // A count of things that take at least min_bytes each. min_bytes <= 64, limit <= 2^32: no overflow.
  Status check_count(uint64_t count, uint64_t limit, uint64_t min_bytes, const std::string& what) const {
    if (count > limit)
      return {ErrorCode::limit_exceeded, what + " is " + num(count) + ", the limit is " + num(limit)};
    const uint64_t left = file_bytes_ - reader_.position();
    if (count * min_bytes > left)
      return {ErrorCode::truncated, what + " is " + num(count) + ", which needs at least " +
                                        num(count * min_bytes) + " bytes; the file has " + num(left) +
                                        " left"};
    return {};
  }

  Status parse_key(uint64_t number) {
    std::string_view name;
    RETURN_IF_ERROR(read_string(name, kGgufMaxNameBytes, "the name of metadata key " + num(number)));
    if (name.empty()) return {ErrorCode::corrupt_file, "metadata key " + num(number) + " has an empty name"};
    const std::string what = "the metadata key " + quoted(name);
    if (!file_.key_index_.emplace(name, file_.entries_.size()).second)
      return {ErrorCode::corrupt_file, what + " occurs twice"};
    GgufFile::Value value;
    RETURN_IF_ERROR(read_type(value.type, what));
    RETURN_IF_ERROR(parse_value(value, what));
    file_.entries_.push_back({std::string(name), std::move(value)});
    return {};
  }

  Status read_type(GgufType& type, const std::string& what) {
    uint32_t id = 0;
    RETURN_IF_ERROR(read(id, what));
    if (id > static_cast<uint32_t>(GgufType::f64))
      return {ErrorCode::corrupt_file, what + " has the unknown value type " + num(id)};
    type = static_cast<GgufType>(id);
    return {};
  }

  Status parse_value(GgufFile::Value& value, const std::string& what) {
    if (value.type == GgufType::array) {
      RETURN_IF_ERROR(read_array_head(value.element, value.count, what));
      value.offset = static_cast<uint32_t>(reader_.position());
      return parse_elements(value.element, value.count, &value.string_offsets, 1, what);
    }
    if (value.type == GgufType::string) {
      std::string_view text;
      RETURN_IF_ERROR(read_string(text, kGgufMaxStringBytes, what));
      value.count = text.size();
      value.offset = static_cast<uint32_t>(reader_.position() - text.size());
      return {};
    }
    value.offset = static_cast<uint32_t>(reader_.position());
    return skip_scalars(value.type, 1, what);
  }

  Status read_array_head(GgufType& element, uint64_t& count, const std::string& what) {
    RETURN_IF_ERROR(read_type(element, what));
    RETURN_IF_ERROR(read(count, what));
    const uint64_t min_bytes = element == GgufType::array    ? 12
                               : element == GgufType::string ? 8
                                                             : scalar_bytes(element);
    return check_count(count, kGgufMaxArrayCount, min_bytes, "the number of elements of " + what);
  }

  // string_offsets: where the strings begin, for the outermost array only.
  Status parse_elements(GgufType element, uint64_t count, std::vector<uint32_t>* string_offsets, int depth,
                        const std::string& what) {
    if (element == GgufType::array) {
      if (depth == kGgufMaxNesting)
        return {ErrorCode::limit_exceeded, what + " has arrays nested deeper than " + num(kGgufMaxNesting)};
      for (uint64_t i = 0; i < count; ++i) {
        GgufType inner{};
        uint64_t inner_count = 0;
        RETURN_IF_ERROR(read_array_head(inner, inner_count, what));
        RETURN_IF_ERROR(parse_elements(inner, inner_count, nullptr, depth + 1, what));
      }
      return {};
    }
    if (element != GgufType::string) return skip_scalars(element, count, what);
    if (string_offsets != nullptr)
      string_offsets->reserve(std::min<uint64_t>(count, reader_.remaining() / 8));
    const std::string element_name = "a string of " + what;
    std::string_view text;
    for (uint64_t i = 0; i < count; ++i) {
      const size_t start = reader_.position();
      RETURN_IF_ERROR(read_string(text, kGgufMaxStringBytes, element_name));
      if (string_offsets != nullptr) string_offsets->push_back(static_cast<uint32_t>(start));
    }
    return {};
  }

  Status skip_scalars(GgufType type, uint64_t count, const std::string& what) {
    const uint64_t bytes = scalar_bytes(type) * count;  // count <= 2^26
    RETURN_IF_ERROR(need(bytes, what));
    const uint8_t* p = prefix_.data() + reader_.position();
    if (type == GgufType::boolean)
      for (uint64_t i = 0; i < count; ++i)
        if (p[i] > 1) return {ErrorCode::corrupt_file, what + " has the boolean value " + num(p[i])};
    reader_.skip(bytes);
    return {};
  }

  Status read_alignment() {
    const auto it = file_.key_index_.find("general.alignment");
    if (it == file_.key_index_.end()) return {};
    const GgufFile::Value& value = file_.entries_[it->second].value;
    if (value.type != GgufType::u32)
      return {ErrorCode::corrupt_file, "the metadata key 'general.alignment' is not of the type u32"};
    const uint64_t alignment = load_le<uint32_t>(prefix_.data() + value.offset);
    if (alignment > kGgufMaxAlignment)
      return {ErrorCode::limit_exceeded,
              "the alignment is " + num(alignment) + ", the limit is " + num(kGgufMaxAlignment)};
    if (alignment < 8 || (alignment & (alignment - 1)) != 0)
      return {ErrorCode::corrupt_file,
              "the alignment is " + num(alignment) + ", not a power of two of at least 8"};
    file_.alignment_ = alignment;
    return {};
  }

  Status parse_tensor(uint64_t number) {
    std::string_view name;
    RETURN_IF_ERROR(read_string(name, kGgufMaxNameBytes, "the name of tensor " + num(number)));
    if (name.empty()) return {ErrorCode::corrupt_file, "tensor " + num(number) + " has an empty name"};
    const std::string what = "the tensor " + quoted(name);
    if (!file_.tensor_index_.emplace(name, file_.tensors_.size()).second)
      return {ErrorCode::corrupt_file, what + " occurs twice"};
    GgufTensor tensor;
    tensor.name = name;
    RETURN_IF_ERROR(read_dims(tensor, what));
    RETURN_IF_ERROR(read(tensor.type_id, what));
    RETURN_IF_ERROR(read(tensor.offset, what));
    tensor.dtype = dtype_of_gguf_id(tensor.type_id);
    RETURN_IF_ERROR(set_bytes(tensor, what));
    file_.tensors_.push_back(std::move(tensor));
    return {};
  }

  Status read_dims(GgufTensor& tensor, const std::string& what) {
    uint32_t n_dims = 0;
    RETURN_IF_ERROR(read(n_dims, what));
    if (n_dims == 0) return {ErrorCode::corrupt_file, what + " has no dimensions"};
    if (n_dims > 4)
      return {ErrorCode::limit_exceeded, what + " has " + num(n_dims) + " dimensions, the limit is 4"};
    tensor.n_dims = static_cast<int>(n_dims);
    uint64_t values = 1;
    for (uint32_t i = 0; i < n_dims; ++i) {
      uint64_t extent = 0;
      RETURN_IF_ERROR(read(extent, what));
      if (extent == 0) return {ErrorCode::corrupt_file, what + " has the extent 0 in dimension " + num(i)};
      const auto product = checked_mul(values, extent);
      if (!product || *product >= kGgufMaxTensorValues)
        return {ErrorCode::limit_exceeded, what + " has the extent " + num(extent) + " in dimension " +
                                               num(i) + ": more values than the limit of " +
                                               num(kGgufMaxTensorValues)};
      values = *product;
      tensor.dims[i] = static_cast<int64_t>(extent);
    }
    return {};
  }

  Status set_bytes(GgufTensor& tensor, const std::string& what) const {
    if (tensor.offset % file_.alignment_ != 0)
      return {ErrorCode::corrupt_file, what + " has the offset " + num(tensor.offset) +
                                           ", not a multiple of the alignment " + num(file_.alignment_)};
    const auto format = format_of(tensor.type_id);
    if (!format) return {};
    if (tensor.dims[0] % format->block_length != 0)
      return {ErrorCode::corrupt_file, what + " has rows of " + num(static_cast<uint64_t>(tensor.dims[0])) +
                                           " values, not whole blocks of " + std::string(format->name) +
                                           " (" + num(static_cast<uint64_t>(format->block_length)) + ")"};
    // < 2^40 values of at most 8 bytes
    tensor.bytes = static_cast<uint64_t>(tensor.n_values() / format->block_length * format->block_bytes);
    return {};
  }

  // Where the tensor data lies: no two tensors overlap, all end inside the file.
  Status check_layout() {
    const uint64_t mask = file_.alignment_ - 1;
    file_.data_offset_ = (reader_.position() + mask) & ~mask;
    const std::vector<GgufTensor>& tensors = file_.tensors_;
    if (tensors.empty()) {
      file_.data_offset_ = std::min(file_.data_offset_, file_bytes_);  // nothing to pad for
      return {};
    }
    std::vector<uint32_t> order(tensors.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return tensors[a].offset != tensors[b].offset ? tensors[a].offset < tensors[b].offset : a < b;
    });
    const GgufTensor* previous = nullptr;
    for (const uint32_t i : order) {
      const GgufTensor& t = tensors[i];
      if (previous != nullptr &&
          t.offset < previous->offset + previous->bytes)  // cannot overflow: checked below
        return {ErrorCode::corrupt_file, "the tensors " + quoted(previous->name) + " and " + quoted(t.name) +
                                             " overlap at offset " + num(t.offset)};
      const auto end = checked_add(t.offset, t.bytes);
      if (!end || !checked_add(*end, file_.data_offset_))
        return {ErrorCode::corrupt_file,
                "the tensor " + quoted(t.name) + " has the impossible offset " + num(t.offset)};
      previous = &t;
    }
    for (const uint32_t i : order) {
      const GgufTensor& t = tensors[i];
      if (const uint64_t end = file_.data_offset_ + t.offset + t.bytes; end > file_bytes_)
        return {ErrorCode::truncated, "the tensor " + quoted(t.name) + " ends at byte " + num(end) +
                                          ", the file has only " + num(file_bytes_)};
    }
    return {};
  }

  std::span<const uint8_t> prefix_;
  const uint64_t file_bytes_;
  ByteReader reader_;
  bool need_more_ = false;
  uint64_t n_tensors_ = 0, n_keys_ = 0;
  GgufFile file_;
};

Result<std::optional<GgufFile>> parse_gguf(std::span<const uint8_t> prefix, uint64_t file_bytes) {
  if (prefix.size() > file_bytes)
    return Status(ErrorCode::invalid_argument,
                  "a prefix of " + num(prefix.size()) + " bytes of a file of " + num(file_bytes) + " bytes");
  return GgufParser(prefix, file_bytes).parse();
}

}  // namespace nutshell
