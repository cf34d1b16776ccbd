#include "engine/weight_stream.h"

#include <algorithm>
#include <cstring>

#include "quant/format.h"

namespace nutshell {
namespace {

constexpr uint64_t kChunkBytes = 4u << 20;
constexpr uint64_t kGapBytes = 256;  // between tensors: read along rather than asked for anew

// [n_rows, n_cols] -> [n_cols, n_rows], values of any size that divides the bytes.
std::vector<uint8_t> transpose(std::span<const uint8_t> in, int64_t n_rows, int64_t n_cols) {
  std::vector<uint8_t> out(in.size());
  const size_t size = in.size() / static_cast<size_t>(n_rows * n_cols);
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_cols; ++c)
      std::memcpy(out.data() + static_cast<size_t>(c * n_rows + r) * size,
                  in.data() + static_cast<size_t>(r * n_cols + c) * size, size);
  return out;
}

std::vector<uint8_t> plus_one(DType dtype, std::span<const uint8_t> in, int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  decode_row(dtype, in.data(), n, values.data());
  for (float& v : values) v += 1.0f;
  std::vector<uint8_t> out(values.size() * sizeof(float));
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

bool is_transposed(const TensorEntry& t) { return t.transform == TensorTransform::transposed; }

}  // namespace

uint64_t WeightStream::staging_bytes(const TensorIndex& tensors, const std::vector<WeightSpec>& weights) {
  uint64_t bytes = kChunkBytes;
  for (const WeightSpec& w : weights)  // transposing takes a tensor whole, twice
    if (const TensorEntry& t = *tensors.find(w.name); is_transposed(t)) bytes = std::max(bytes, 2 * t.bytes);
  return bytes;
}

WeightStream::WeightStream(Backend& backend, const TensorIndex& tensors,
                           const std::vector<WeightSpec>& weights)
    : backend_(backend) {
  for (size_t i = 0; i < weights.size(); ++i) {
    const WeightSpec& w = weights[i];
    const TensorEntry& t = *tensors.find(w.name);
    const int64_t file_rows = is_transposed(t) ? t.n_cols : stored_rows(w.dtype, t.n_rows);
    Source s{static_cast<WeightId>(i),
             &t,
             t.bytes / static_cast<uint64_t>(file_rows),
             stored_rows(w.dtype, w.n_rows),
             stored_rows(w.dtype, w.first),
             0,
             0,
             0};
    if (w.n_cols < t.n_cols) {  // part of a vector
      s.first_row = 0;
      s.skip_bytes = static_cast<uint64_t>(row_bytes(w.dtype, w.first));
      s.row_bytes = static_cast<uint64_t>(row_bytes(w.dtype, w.n_cols));
    }
    s.n_padding = is_transposed(t) ? 0 : s.n_rows - w.n_rows;
    if (w.coded.runs.size() > 1) {
      add_runs(s, w);
    } else {
      sources_.push_back(s);
    }
  }
  std::sort(sources_.begin(), sources_.end(), [](const Source& a, const Source& b) {
    const TensorPiece &x = a.tensor->pieces[0], &y = b.tensor->pieces[0];
    if (x.file != y.file) return x.file < y.file;
    if (x.offset != y.offset) return x.offset < y.offset;
    return a.first_row != b.first_row ? a.first_row < b.first_row : a.skip_bytes < b.skip_bytes;
  });
}

// One source per run: their rows are of different lengths.
void WeightStream::add_runs(Source s, const WeightSpec& w) {
  s.skip_bytes = 0;
  for (size_t i = 0; i < w.coded.runs.size(); ++i) {
    const TrellisRun& run = w.coded.runs[i];
    const int64_t n_rows = w.coded.end_row(i, w.n_rows) - run.first_row;
    s.row_bytes = static_cast<uint64_t>(row_bytes(run.dtype, w.n_cols));
    s.n_rows = stored_rows(run.dtype, n_rows);
    s.to_row = run.first_row;
    s.n_padding = s.n_rows - n_rows;
    sources_.push_back(s);
    s.skip_bytes += s.row_bytes * static_cast<uint64_t>(s.n_rows);
  }
}

// As many rows as the buffer has room for, in the multiple the back end packs, one multiple at least.
void WeightStream::next_chunk() {
  reads_.clear();
  parts_.clear();
  read_ = 0;
  filled_ = 0;
  while (source_ < sources_.size()) {
    const Source& s = sources_[source_];
    const bool whole = is_transposed(*s.tensor), first = parts_.empty();
    if (whole && !first) break;
    const int64_t rest = s.n_rows - row_, multiple = backend_.upload_row_multiple(s.weight);
    const auto room = static_cast<int64_t>((kChunkBytes - std::min(filled_, kChunkBytes)) /
                                           std::max<uint64_t>(1, s.row_bytes)) /
                      multiple * multiple;
    const int64_t n_rows = whole ? rest : std::min(rest, first ? std::max(room, multiple) : room);
    if (n_rows == 0) break;
    add_rows(s, n_rows);
    row_ += n_rows;
    if (row_ < s.n_rows) break;
    ++source_;
    row_ = 0;
    if (whole) break;
  }
  if (parts_.empty()) return staging_.reset();
  if (filled_ <= staging_bytes_) return;
  staging_.reset();
  staging_bytes_ = std::max(filled_, kChunkBytes);
  staging_ = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(staging_bytes_));
}

void WeightStream::add_rows(const Source& s, int64_t n_rows) {
  const TensorEntry& t = *s.tensor;
  if (is_transposed(t)) {
    parts_.push_back({&s, 0, n_rows, 0});
    return add_read(t.pieces[0].file, t.pieces[0].offset, t.bytes, 0);
  }
  // The rows may lie in several pieces; in the staging buffer they lie together.
  const uint64_t bytes = s.row_bytes * static_cast<uint64_t>(n_rows);
  uint64_t gap = kGapBytes;
  int64_t row = s.first_row + row_, left = n_rows;
  for (const TensorPiece& piece : t.pieces) {
    if (row < piece.n_rows && left > 0) {
      const int64_t n = std::min(left, piece.n_rows - row);
      add_read(piece.file, piece.offset + s.skip_bytes + s.row_bytes * static_cast<uint64_t>(row),
               s.row_bytes * static_cast<uint64_t>(n), gap);
      gap = 0;
      left -= n;
      row += n;
    }
    row -= piece.n_rows;
  }
  parts_.push_back({&s, row_, n_rows, filled_ - bytes});
}

// gap: the most bytes that may lie between this and the read before for the two to be one.
void WeightStream::add_read(uint32_t file, uint64_t offset, uint64_t bytes, uint64_t gap) {
  if (!reads_.empty()) {
    Read& last = reads_.back();
    const uint64_t end = last.offset + last.bytes;
    if (last.file == file && offset >= end && offset - end <= gap) {
      last.bytes = offset + bytes - last.offset;
      filled_ = last.at + last.bytes;
      return;
    }
  }
  reads_.push_back({file, offset, bytes, filled_});
  filled_ += bytes;
}

std::optional<ReadRequest> WeightStream::next() {
  if (parts_.empty()) next_chunk();
  if (parts_.empty()) return std::nullopt;
  const Read& read = reads_[read_];
  return ReadRequest{read.file, read.offset, read.bytes, staging_.get() + read.at};
}

Status WeightStream::commit() {
  if (++read_ < reads_.size()) return {};
  for (const Part& part : parts_) {
    RETURN_IF_ERROR(is_transposed(*part.source->tensor) ? upload_transposed(part) : upload(part));
  }
  parts_.clear();
  return {};
}

Status WeightStream::upload(const Part& part) {
  const Source& s = *part.source;
  const TensorEntry& t = *s.tensor;
  const uint64_t bytes = s.row_bytes * static_cast<uint64_t>(part.n_rows);
  const std::span<const uint8_t> rows = {staging_.get() + part.at, static_cast<size_t>(bytes)};
  const int64_t n_rows = std::min(part.n_rows, s.n_rows - s.n_padding - part.row);
  done_bytes_ += bytes;
  if (t.transform != TensorTransform::plus_one)
    return backend_.upload(s.weight, s.to_row + part.row, n_rows, rows);
  return backend_.upload(s.weight, s.to_row + part.row, n_rows,
                         plus_one(t.stored_dtype, rows, part.n_rows * t.n_cols));
}

// The whole tensor is in the staging buffer; the weight may be some of its rows.
Status WeightStream::upload_transposed(const Part& part) {
  const Source& s = *part.source;
  const TensorEntry& t = *s.tensor;
  done_bytes_ += t.bytes * static_cast<uint64_t>(s.n_rows) / static_cast<uint64_t>(t.n_rows);
  const std::vector<uint8_t> rows =
      transpose({staging_.get(), static_cast<size_t>(t.bytes)}, t.n_cols, t.n_rows);
  const size_t row = rows.size() / static_cast<size_t>(t.n_rows);
  return backend_.upload(
      s.weight, 0, s.n_rows,
      std::span(rows).subspan(row * static_cast<size_t>(s.first_row), row * static_cast<size_t>(s.n_rows)));
}

}  // namespace nutshell
