#include "compress/read_tensor.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "quant/format.h"

namespace nutshell::compress {
namespace {

void add_range(std::vector<ByteRange>& ranges, const ByteRange& more) {
  if (!ranges.empty() && ranges.back().file == more.file &&
      ranges.back().offset + ranges.back().length == more.offset) {
    ranges.back().length += more.length;
  } else {
    ranges.push_back(more);
  }
}

// Rows as stored: those of the file, which of a transposed tensor are its columns.
std::vector<ByteRange> stored_ranges(const TensorEntry& tensor, int64_t first, int64_t n, uint64_t row) {
  std::vector<ByteRange> ranges;
  int64_t begin = 0;  // of the piece
  for (const TensorPiece& piece : tensor.pieces) {
    const int64_t from = std::max(first, begin), to = std::min(first + n, begin + piece.n_rows);
    if (from < to)
      add_range(ranges, {piece.file, piece.offset + static_cast<uint64_t>(from - begin) * row,
                         static_cast<uint64_t>(to - from) * row});
    begin += piece.n_rows;
  }
  return ranges;
}

Result<std::vector<uint8_t>> read_ranges(const std::vector<ByteRange>& ranges, const ReadBytes& read) {
  std::vector<uint8_t> bytes;
  for (const ByteRange& range : ranges) {
    const size_t at = bytes.size();
    bytes.resize(at + range.length);
    RETURN_IF_ERROR(read(range.file, range.offset, std::span(bytes).subspan(at)));
  }
  return bytes;
}

// stored: [n_cols, n_rows] of the whole tensor.
void decode_transposed(const TensorEntry& tensor, std::span<const uint8_t> stored, int64_t first, int64_t n,
                       std::span<float> out) {
  std::vector<float> column(static_cast<size_t>(tensor.n_rows));
  const size_t bytes = stored.size() / static_cast<size_t>(tensor.n_cols);
  for (int64_t c = 0; c < tensor.n_cols; ++c) {
    decode_row(tensor.stored_dtype, stored.data() + static_cast<size_t>(c) * bytes, tensor.n_rows,
               column.data());
    for (int64_t r = 0; r < n; ++r)
      out[static_cast<size_t>(r * tensor.n_cols + c)] = column[static_cast<size_t>(first + r)];
  }
}

}  // namespace

uint64_t plain_bytes(const TensorEntry& tensor) {
  if (tensor.transform == TensorTransform::none) return tensor.bytes;
  return static_cast<uint64_t>(row_bytes(*tensor.dtype, tensor.n_cols) * tensor.n_rows);
}

std::vector<ByteRange> ranges_of(const TensorEntry& tensor) {
  int64_t rows = 0;  // of all pieces: coded tensors have rows of padding
  for (const TensorPiece& piece : tensor.pieces) rows += piece.n_rows;
  return rows == 0 ? std::vector<ByteRange>()
                   : stored_ranges(tensor, 0, rows, tensor.bytes / static_cast<uint64_t>(rows));
}

std::vector<ByteRange> ranges_of(const TensorEntry& tensor, int64_t first, int64_t n) {
  if (tensor.transform == TensorTransform::transposed) return ranges_of(tensor);
  return stored_ranges(tensor, first, n, tensor.bytes / static_cast<uint64_t>(tensor.n_rows));
}

std::vector<uint8_t> encode_plain(const TensorEntry& tensor, std::span<const float> values) {
  std::vector<uint8_t> bytes(plain_bytes(tensor));
  // f32, f16 or bf16: exact
  encode_row(*tensor.dtype, values.data(), static_cast<int64_t>(values.size()), bytes.data());
  return bytes;
}

Result<std::vector<uint8_t>> read_plain(const TensorEntry& tensor, const ReadBytes& read) {
  if (tensor.transform == TensorTransform::none) return read_ranges(ranges_of(tensor), read);
  std::vector<float> values(static_cast<size_t>(tensor.n_rows * tensor.n_cols));
  RETURN_IF_ERROR(read_rows(tensor, read, 0, tensor.n_rows, values));
  return encode_plain(tensor, values);
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

Status decode_rows(const TensorEntry& tensor, std::span<const uint8_t> stored, int64_t first, int64_t n,
                   std::span<float> out) {
  const auto values = out.first(static_cast<size_t>(n * tensor.n_cols));
  if (tensor.transform == TensorTransform::transposed) {
    decode_transposed(tensor, stored, first, n, out);
  } else {
    const DType dtype = tensor.transform == TensorTransform::none ? *tensor.dtype : tensor.stored_dtype;
    const uint64_t row = tensor.bytes / static_cast<uint64_t>(tensor.n_rows);
    for (int64_t r = 0; r < n; ++r)
      decode_row(dtype, stored.data() + static_cast<uint64_t>(r) * row, tensor.n_cols,
                 out.data() + r * tensor.n_cols);
    if (tensor.transform == TensorTransform::plus_one)
      for (float& v : values) v += 1.0f;
  }
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    return {ErrorCode::corrupt_file,
            "the tensor '" + tensor.name + "' has values that are not finite numbers"};
  return {};
}

Status read_rows(const TensorEntry& tensor, const ReadBytes& read, int64_t first, int64_t n,
                 std::span<float> out) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> stored, read_ranges(ranges_of(tensor, first, n), read));
  return decode_rows(tensor, stored, first, n, out);
}

}  // namespace nutshell::compress
