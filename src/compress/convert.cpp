#include "compress/convert.h"

#include <algorithm>
#include <cstring>

#include "compress/gguf_writer.h"
#include "compress/items.h"
#include "compress/read_tensor.h"
#include "model/arch/arch.h"
#include "quant/format.h"

namespace nutshell::compress {
namespace {

constexpr int64_t kChunkValues = 16 << 20;
constexpr std::string_view kKeep[] = {"_norm.weight", "ffn_gate_inp", "position_embd",
                                      "token_types",  "conv",         "attn_rel_b"};

// llama.cpp's numbers for "mostly this format" (llama_ftype); of the others the file says nothing.
std::optional<uint32_t> file_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 0;
    case DType::f16:
      return 1;
    case DType::q4_0:
      return 2;
    case DType::q4_1:
      return 3;
    case DType::q8_0:
      return 7;
    case DType::q4_k:
      return 14;
    case DType::q6_k:
      return 18;
    default:
      return std::nullopt;
  }
}

struct Item {
  const TensorEntry* tensor;
  DType to;
  bool fell_back = false;
  int64_t permuted_heads = 0;  // rows are halves of so many heads and become pairs
};

class Conversion {
 public:
  Conversion(ModelHeader header, const ReadBytes& read, const ConvertOptions& options, ThreadPool& pool,
             const WriteBytes& write, const Progress& progress)
      : header_(std::move(header)),
        read_(read),
        options_(options),
        pool_(pool),
        write_(write),
        progress_(progress) {}

  Result<ConvertReport> run() {
    RETURN_IF_ERROR(check());
    add_computed(header_);
    RETURN_IF_ERROR(choose());
    RETURN_IF_ERROR(write_header());
    uint64_t done = 0;
    for (const Item& item : items_) {
      RETURN_IF_ERROR(copies(item) ? copy(item) : encode(item));
      done += bytes_of(item);
      if (progress_) progress_("converting", static_cast<double>(done) / static_cast<double>(data_bytes_));
    }
    return std::move(report_);
  }

 private:
  Status check() const;
  Status choose();
  DType target_of(const TensorEntry& t) const;
  Status write_header();
  Status copy(const Item& item);
  Status encode(const Item& item);
  Status pad(uint64_t bytes) { return write_(std::vector<uint8_t>(writer_->padded(bytes) - bytes, 0)); }
  bool copies(const Item& item) const {
    return item.to == *item.tensor->dtype && item.permuted_heads == 0 && !is_plain(item.to);
  }
  // Formats whose values are checked on their way through.
  static bool is_plain(DType dtype) {
    return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
  }
  static bool is_vector(const TensorEntry& t) { return t.shape.size() == 1; }
  static uint64_t bytes_of(const Item& item) {
    return static_cast<uint64_t>(row_bytes(item.to, item.tensor->n_cols) * item.tensor->n_rows);
  }

  ModelHeader header_;
  const ReadBytes& read_;
  const ConvertOptions& options_;
  ThreadPool& pool_;
  const WriteBytes& write_;
  const Progress& progress_;
  std::optional<GgufWriter> writer_;
  std::vector<Item> items_;
  uint64_t data_bytes_ = 0;
  ConvertReport report_;
};

Status Conversion::check() const {
  RETURN_IF_ERROR(header_.problem);
  if (header_.metadata.has("nutshell.version")) return {ErrorCode::already_compressed, {}};
  for (const TensorEntry& t : header_.tensors.entries()) RETURN_IF_ERROR(t.check_supported());
  if (!has_encoder(options_.to))
    return {ErrorCode::invalid_argument,
            "nothing here writes the format " + std::string(name_of(options_.to))};
  return {};
}

// The format a tensor is meant to have, whatever its shape.
DType Conversion::target_of(const TensorEntry& t) const {
  const auto contains = [&](std::string_view part) { return t.name.find(part) != std::string::npos; };
  const bool matrix = t.shape.size() >= 2 && t.name.ends_with("weight") &&
                      std::none_of(std::begin(kKeep), std::end(kKeep), contains);
  if (!matrix) return is_plain(*t.dtype) ? DType::f32 : *t.dtype;
  const bool head = t.name == "output.weight" ||
                    (t.name == "token_embd.weight" && header_.tensors.find("output.weight") == nullptr);
  const bool narrow = row_bytes(options_.to, 256) < row_bytes(DType::q6_k, 256);
  return head && narrow && !options_.pure ? DType::q6_k : options_.to;
}

Status Conversion::choose() {
  int64_t n_head = 0, n_head_kv = 0;
  ASSIGN_OR_RETURN(const bool halves, header_.metadata.get_bool(kRopeHalvesKey, false));
  if (halves) {
    ASSIGN_OR_RETURN(const std::string name, header_.metadata.get_string("general.architecture"));
    ASSIGN_OR_RETURN(const ArchDef* arch, find_architecture(name));
    ASSIGN_OR_RETURN(const HParams p, read_hparams(*arch, header_.metadata));
    n_head = p.n_head;
    n_head_kv = p.n_head_kv;
  }
  for (const TensorEntry& t : header_.tensors.entries()) {
    Item item{&t, target_of(t)};
    if (t.n_cols % info_of(item.to).block_length != 0) {
      item.fell_back = true;
      item.to = item.to == DType::q4_k ? DType::q5_0 : item.to == DType::q6_k ? DType::q8_0 : DType::f16;
      if (t.n_cols % info_of(item.to).block_length != 0) item.to = DType::f16;
    }
    const bool q = t.name.find(".attn_q.") != std::string::npos;
    if (q || t.name.find(".attn_k.") != std::string::npos) item.permuted_heads = q ? n_head : n_head_kv;
    if (item.permuted_heads > 0 && (is_vector(t) ? t.n_cols : t.n_rows) % (2 * item.permuted_heads) != 0)
      return {ErrorCode::bad_shape, "the tensor '" + t.name + "' does not divide into " +
                                        std::to_string(item.permuted_heads) + " heads"};
    items_.push_back(item);
    report_.tensors.push_back({t.name, item.to, item.fell_back});
  }
  return {};
}

Status Conversion::write_header() {
  constexpr std::string_view kWithout[] = {kRopeHalvesKey};
  writer_.emplace(header_.metadata, kWithout);
  writer_->add("general.quantization_version", uint32_t{2});  // of ggml's formats since 2023
  if (const auto type = file_type(options_.to)) writer_->add("general.file_type", *type);
  std::vector<TensorOut> tensors;
  double n_weights = 0;
  for (const Item& item : items_) {
    tensors.push_back({item.tensor->name,
                       {item.tensor->shape.begin(), item.tensor->shape.end()},
                       info_of(item.to).gguf_id,
                       bytes_of(item)});
    n_weights += static_cast<double>(item.tensor->n_rows * item.tensor->n_cols);
    report_.bytes += writer_->padded(bytes_of(item));
    data_bytes_ += bytes_of(item);
  }
  const std::vector<uint8_t> header = writer_->header(tensors);
  report_.bytes += header.size();
  report_.bits_per_weight = 8.0 * static_cast<double>(report_.bytes) / n_weights;
  return write_(header);
}

// In the wanted format already.
Status Conversion::copy(const Item& item) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, read_plain(*item.tensor, read_));
  RETURN_IF_ERROR(write_(bytes));
  return pad(bytes.size());
}

// Rows of n_cols values in the order (head, pair, half) instead of (head, half, pair), as llama.cpp's
// converter has those of Llama's query and key.
void permute(std::vector<float>& values, int64_t n_head, int64_t n_cols) {
  const std::vector<float> before = values;
  const int64_t head_dim = static_cast<int64_t>(values.size()) / n_cols / n_head;
  for (int64_t r = 0; r < n_head * head_dim; ++r) {
    const int64_t at = r % head_dim, from = r - at + at % 2 * (head_dim / 2) + at / 2;
    std::copy_n(before.begin() + from * n_cols, n_cols, values.begin() + r * n_cols);
  }
}

Status Conversion::encode(const Item& item) {
  const TensorEntry& t = *item.tensor;
  const bool whole = item.permuted_heads > 0 || t.transform == TensorTransform::transposed;
  const int64_t step = whole ? t.n_rows : std::clamp<int64_t>(kChunkValues / t.n_cols, 1, t.n_rows);
  const auto row = static_cast<size_t>(row_bytes(item.to, t.n_cols));
  std::vector<float> values(static_cast<size_t>(step * t.n_cols));
  std::vector<uint8_t> out;
  for (int64_t first = 0; first < t.n_rows; first += step) {
    const int64_t n = std::min(step, t.n_rows - first);
    if (const auto computed = header_.computed.find(t.name); computed != header_.computed.end()) {
      values = computed->second;
    } else {
      RETURN_IF_ERROR(read_rows(t, read_, first, n, values));
    }
    if (item.permuted_heads > 0) permute(values, item.permuted_heads, is_vector(t) ? 1 : t.n_cols);
    out.resize(static_cast<size_t>(n) * row);
    for_items(pool_, n, [&](int64_t r) {
      encode_row(item.to, values.data() + r * t.n_cols, t.n_cols, out.data() + static_cast<size_t>(r) * row);
    });
    RETURN_IF_ERROR(write_(out));
  }
  return pad(bytes_of(item));
}

}  // namespace

Result<ConvertReport> convert(ModelHeader header, const ReadBytes& read, const ConvertOptions& options,
                              ThreadPool& pool, const WriteBytes& write, const Progress& progress) {
  return Conversion(std::move(header), read, options, pool, write, progress).run();
}

}  // namespace nutshell::compress
