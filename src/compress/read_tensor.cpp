#include "compress/read_tensor.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "quant/format.h"

namespace nutshell::compress {
namespace {

// Rows as stored: those of the file, which of a transposed tensor are its columns.
Status read_stored_rows(const TensorEntry& tensor, const ReadBytes& read, int64_t first, int64_t n,
                        uint64_t row, std::span<uint8_t> out) {
  int64_t begin = 0;  // of the piece
  for (const TensorPiece& piece : tensor.pieces) {
    const int64_t from = std::max(first, begin), to = std::min(first + n, begin + piece.n_rows);
    if (from < to)
      RETURN_IF_ERROR(read(
          piece.file, piece.offset + static_cast<uint64_t>(from - begin) * row,
          out.subspan(static_cast<uint64_t>(from - first) * row, static_cast<uint64_t>(to - from) * row)));
    begin += piece.n_rows;
  }
  return {};
}

// stored: [n_cols, n_rows] of the whole tensor.
void decode_transposed(const TensorEntry& tensor, const std::vector<uint8_t>& stored, int64_t first,
                       int64_t n, std::span<float> out) {
  std::vector<float> column(static_cast<size_t>(tensor.n_rows));
  const size_t bytes = stored.size() / static_cast<size_t>(tensor.n_cols);
  for (int64_t c = 0; c < tensor.n_cols; ++c) {
    decode_row(tensor.stored_dtype, stored.data() + static_cast<size_t>(c) * bytes, tensor.n_rows,
               column.data());
    for (int64_t r = 0; r < n; ++r)
      out[static_cast<size_t>(r * tensor.n_cols + c)] = column[static_cast<size_t>(first + r)];
  }
}

Result<std::vector<uint8_t>> read_stored(const TensorEntry& tensor, const ReadBytes& read) {
  std::vector<uint8_t> bytes(tensor.bytes);
  int64_t rows = 0;  // of all pieces: coded tensors have rows of padding
  for (const TensorPiece& piece : tensor.pieces) rows += piece.n_rows;
  RETURN_IF_ERROR(read_stored_rows(tensor, read, 0, rows, tensor.bytes / static_cast<uint64_t>(rows), bytes));
  return bytes;
}

}  // namespace

uint64_t plain_bytes(const TensorEntry& tensor) {
  if (tensor.transform == TensorTransform::none) return tensor.bytes;
  return static_cast<uint64_t>(row_bytes(*tensor.dtype, tensor.n_cols) * tensor.n_rows);
}

Result<std::vector<uint8_t>> read_plain(const TensorEntry& tensor, const ReadBytes& read) {
  if (tensor.transform == TensorTransform::none) return read_stored(tensor, read);
  const int64_t n = tensor.n_rows * tensor.n_cols;
  std::vector<float> values(static_cast<size_t>(n));
  RETURN_IF_ERROR(read_rows(tensor, read, 0, tensor.n_rows, values));
  std::vector<uint8_t> bytes(plain_bytes(tensor));
  encode_row(*tensor.dtype, values.data(), n, bytes.data());  // f32, f16 or bf16: exact
  return bytes;
}

void add_computed(ModelHeader& header) {
  const std::map<std::string, std::vector<float>> sorted(header.computed.begin(), header.computed.end());
  for (const auto& [name, values] : sorted) {
    if (header.tensors.find(name) != nullptr) continue;
    TensorEntry entry;
    entry.name = name;
    entry.dtype = DType::f32;
    entry.format_name = name_of(DType::f32);
    entry.n_cols = static_cast<int64_t>(values.size());
    entry.shape = {entry.n_cols};
    entry.bytes = values.size() * sizeof(float);
    header.tensors.add(std::move(entry));
  }
}

Status read_rows(const TensorEntry& tensor, const ReadBytes& read, int64_t first, int64_t n,
                 std::span<float> out) {
  if (tensor.transform == TensorTransform::transposed) {
    ASSIGN_OR_RETURN(const std::vector<uint8_t> stored, read_stored(tensor, read));
    decode_transposed(tensor, stored, first, n, out);
  } else {
    const DType dtype = tensor.transform == TensorTransform::none ? *tensor.dtype : tensor.stored_dtype;
    const uint64_t row = tensor.bytes / static_cast<uint64_t>(tensor.n_rows);
    std::vector<uint8_t> stored(row * static_cast<uint64_t>(n));
    RETURN_IF_ERROR(read_stored_rows(tensor, read, first, n, row, stored));
    for (int64_t r = 0; r < n; ++r)
      decode_row(dtype, stored.data() + static_cast<uint64_t>(r) * row, tensor.n_cols,
                 out.data() + r * tensor.n_cols);
    if (tensor.transform == TensorTransform::plus_one)
      for (float& v : out.first(static_cast<size_t>(n * tensor.n_cols))) v += 1.0f;
  }
  const auto values = out.first(static_cast<size_t>(n * tensor.n_cols));
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    return {ErrorCode::corrupt_file,
            "the tensor '" + tensor.name + "' has values that are not finite numbers"};
  return {};
}

}  // namespace nutshell::compress
