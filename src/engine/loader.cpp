#include "engine/loader.h"

#include <algorithm>
#include <cstring>

#include "engine/coded_tensors.h"
#include "engine/memory_plan.h"
#include "engine/tokenizer_data.h"
#include "quant/format.h"

namespace nutshell {
namespace {

constexpr uint64_t kStagingBytes = 4u << 20;  // weights pass through this much at a time
constexpr int64_t kMaxHostTensorValues = 1u << 16;

uint64_t count_parameters(const TensorIndex& tensors) {
  uint64_t n = 0;
  for (const TensorEntry& t : tensors.entries())
    n += static_cast<uint64_t>(t.n_rows) * static_cast<uint64_t>(t.n_cols);
  return n;
}

// [n_rows, n_cols] -> [n_cols, n_rows], values of any size that divides the bytes.
std::vector<uint8_t> transpose(const std::vector<uint8_t>& in, int64_t n_rows, int64_t n_cols) {
  std::vector<uint8_t> out(in.size());
  const size_t size = in.size() / static_cast<size_t>(n_rows * n_cols);
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_cols; ++c)
      std::memcpy(out.data() + static_cast<size_t>(c * n_rows + r) * size,
                  in.data() + static_cast<size_t>(r * n_cols + c) * size, size);
  return out;
}

std::vector<uint8_t> plus_one(DType dtype, const std::vector<uint8_t>& in, int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  decode_row(dtype, in.data(), n, values.data());
  for (float& v : values) v += 1.0f;
  std::vector<uint8_t> out(values.size() * sizeof(float));
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

// The piece of a tensor that holds a row.
struct PieceAt {
  const TensorPiece* piece;
  int64_t row;  // inside the piece
};

PieceAt piece_of(const TensorEntry& t, int64_t row) {
  for (const TensorPiece& piece : t.pieces) {
    if (row < piece.n_rows) return {&piece, row};
    row -= piece.n_rows;
  }
  return {nullptr, 0};
}

}  // namespace

Extents choose_extents(const HParams& hparams, int64_t context_size, int64_t max_outputs) {
  Extents e;
  e.n_ctx = context_size > 0 ? context_size : std::min(hparams.n_ctx_train, kDefaultContext);
  // A model that embeds reads a text in one step and answers all its rows.
  const bool embeds = hparams.pooling != Pooling::none;
  e.max_tokens = embeds ? e.n_ctx : std::min(kPrefillTokens, e.n_ctx);
  e.max_outputs = embeds ? e.max_tokens : std::min(max_outputs, e.max_tokens);
  return e;
}

Loader::Loader(ThreadPool& pool, LoadOptions options)
    : pool_(pool), options_(std::move(options)), header_reader_(options_.files) {
  for (const ModelFile& file : options_.files) total_bytes_ += file.bytes;
}

Result<std::optional<ReadRequest>> Loader::next() {
  if (!failed_.ok()) return failed_;
  auto result = request();
  if (!result.ok()) failed_ = result.status();
  return result;
}

Status Loader::commit() {
  if (!failed_.ok()) return failed_;
  if (requested_bytes_ == 0) return {ErrorCode::invalid_argument, "nothing was requested"};
  Status status;
  switch (phase_) {
    case Phase::header:
      status = header_reader_.commit();
      break;
    case Phase::host_tensors:
      status = commit_host_tensor();
      break;
    case Phase::weights:
      status = commit_weight();
      break;
    case Phase::ready:
      break;
  }
  requested_bytes_ = 0;
  if (!status.ok()) failed_ = status;
  return status;
}

Result<std::optional<ReadRequest>> Loader::request() {
  if (phase_ == Phase::header) {
    ASSIGN_OR_RETURN(std::optional<ReadRequest> read, header_reader_.next());
    if (read) {
      requested_bytes_ = read->length;
      return read;
    }
    RETURN_IF_ERROR(start_model());
  }
  if (phase_ == Phase::ready) return std::optional<ReadRequest>();
  const ReadRequest read = phase_ == Phase::weights ? weight_request() : host_request();
  requested_bytes_ = read.length;
  return std::optional<ReadRequest>(read);
}

ReadRequest Loader::host_request() {
  const TensorEntry& t = *header_.tensors.find(host_names_.back());
  staging_.resize(t.bytes);
  return {t.pieces[0].file, t.pieces[0].offset, t.bytes, staging_.data()};
}

// The rest of the chunk, as far as it lies together in one file.
ReadRequest Loader::weight_request() {
  const Upload& u = uploads_[upload_];
  staging_.resize(static_cast<size_t>(u.row_bytes) * static_cast<size_t>(chunk_rows_));
  if (u.tensor->transform == TensorTransform::transposed)
    return {u.tensor->pieces[0].file, u.tensor->pieces[0].offset, staging_.size(), staging_.data()};
  const auto [piece, row] = piece_of(*u.tensor, u.first_row + row_ + filled_rows_);
  const int64_t n = std::min(chunk_rows_ - filled_rows_, piece->n_rows - row);
  return {piece->file, piece->offset + u.skip_bytes + u.row_bytes * static_cast<uint64_t>(row),
          u.row_bytes * static_cast<uint64_t>(n),
          staging_.data() + u.row_bytes * static_cast<uint64_t>(filled_rows_)};
}

Status Loader::start_model() {
  ASSIGN_OR_RETURN(header_, header_reader_.take());
  done_bytes_ = header_.header_bytes;
  total_bytes_ = header_.file_bytes;
  RETURN_IF_ERROR(header_.problem);
  const GgufFile& metadata = header_.metadata;
  RETURN_IF_ERROR(describe_coded_tensors(metadata, header_.tensors));
  ASSIGN_OR_RETURN(const std::string architecture, metadata.get_string("general.architecture"));
  ASSIGN_OR_RETURN(arch_, find_architecture(architecture));

  model_ = std::make_unique<Model>();
  ASSIGN_OR_RETURN(model_->hparams, read_hparams(*arch_, metadata));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(metadata));
  model_->special = {data.bos, data.eos, data.eot, data.add_bos};
  if (static_cast<int64_t>(data.tokens.size()) != model_->hparams.n_vocab)
    return {ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(data.tokens.size()) +
                                         " tokens, the model " + std::to_string(model_->hparams.n_vocab)};
  ASSIGN_OR_RETURN(model_->tokenizer, make_tokenizer(std::move(data)));

  ModelInfo& info = model_->info;
  info.name = model_->hparams.name.empty() ? options_.name : model_->hparams.name;
  info.architecture = architecture;
  info.parameters = count_parameters(header_.tensors);
  info.file_bytes = total_bytes_;
  info.n_ctx_train = model_->hparams.n_ctx_train;
  if (metadata.has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(info.chat_template, metadata.get_string("tokenizer.chat_template"));
  }

  host_ = std::move(header_.computed);
  for (const std::string_view name : arch_->host_tensors)
    if (header_.tensors.find(std::string(name)) != nullptr) host_names_.emplace_back(name);
  if (host_names_.empty()) return start_weights();
  for (const std::string& name : host_names_)
    if (const TensorEntry& t = *header_.tensors.find(name); t.n_rows * t.n_cols > kMaxHostTensorValues)
      return {ErrorCode::limit_exceeded,
              "the tensor '" + name + "' has " + std::to_string(t.n_rows * t.n_cols) + " values"};
  phase_ = Phase::host_tensors;
  return {};
}

Status Loader::commit_host_tensor() {
  const TensorEntry& t = *header_.tensors.find(host_names_.back());
  RETURN_IF_ERROR(t.check_supported());
  std::vector<float>& values = host_[t.name];
  values.resize(static_cast<size_t>(t.n_rows * t.n_cols));
  decode_row(*t.dtype, staging_.data(), t.n_rows * t.n_cols, values.data());
  done_bytes_ += t.bytes;
  host_names_.pop_back();
  return host_names_.empty() ? start_weights() : Status();
}

Status Loader::start_weights() {
  const int64_t trained = model_->hparams.n_ctx_train;
  Extents& extents = model_->extents;
  extents = choose_extents(model_->hparams, options_.context_size, options_.max_outputs);
  model_->hparams.n_ctx = extents.n_ctx;
  GraphBuilder builder(header_.tensors);
  arch_->build(builder, model_->hparams, host_);
  ASSIGN_OR_RETURN(Graph graph, builder.finish());

  if (extents.n_ctx > trained)
    return {ErrorCode::invalid_argument, "a context of " + std::to_string(extents.n_ctx) +
                                             " tokens is more than the " + std::to_string(trained) +
                                             " the model was trained for"};

  model_->backend = make_cpu_backend(pool_);
  uint64_t available = options_.memory_available;
  if (options_.memory_limit > 0 && (available == 0 || options_.memory_limit < available))
    available = options_.memory_limit;
  uint64_t staging = kStagingBytes;
  for (const WeightSpec& weight : graph.weights)  // transposing takes a tensor whole, twice
    if (const TensorEntry& t = *header_.tensors.find(weight.name); t.transform == TensorTransform::transposed)
      staging = std::max(staging, 2 * t.bytes);
  ASSIGN_OR_RETURN(model_->needs, check_memory(*model_->backend, graph, extents, staging, available));

  for (size_t i = 0; i < graph.weights.size(); ++i) {
    const WeightSpec& w = graph.weights[i];
    const TensorEntry& t = *header_.tensors.find(w.name);
    const bool transposed = t.transform == TensorTransform::transposed;
    const int64_t file_rows = transposed ? t.n_cols : stored_rows(w.dtype, t.n_rows);
    Upload u{static_cast<WeightId>(i),
             &t,
             t.bytes / static_cast<uint64_t>(file_rows),
             stored_rows(w.dtype, w.n_rows),
             stored_rows(w.dtype, w.first),
             0,
             0,
             0};
    if (w.n_cols < t.n_cols) {  // part of a vector
      u.first_row = 0;
      u.skip_bytes = static_cast<uint64_t>(row_bytes(w.dtype, w.first));
      u.row_bytes = static_cast<uint64_t>(row_bytes(w.dtype, w.n_cols));
    }
    u.n_padding = transposed ? 0 : u.n_rows - w.n_rows;
    if (w.coded.runs.size() > 1) {
      add_runs(u, w);
    } else {
      uploads_.push_back(u);
    }
  }
  std::sort(uploads_.begin(), uploads_.end(), [](const Upload& a, const Upload& b) {
    const TensorPiece &x = a.tensor->pieces[0], &y = b.tensor->pieces[0];
    if (x.file != y.file) return x.file < y.file;
    if (x.offset != y.offset) return x.offset < y.offset;
    return a.first_row != b.first_row ? a.first_row < b.first_row : a.skip_bytes < b.skip_bytes;
  });
  // The header's bytes are no longer needed; the staging buffer shrinks to its working size.
  header_.metadata = {};
  staging_ = {};
  RETURN_IF_ERROR(model_->backend->allocate(std::move(graph), extents));
  phase_ = uploads_.empty() ? Phase::ready : Phase::weights;
  next_weight();
  return {};
}

// One upload per run: their rows are of different lengths.
void Loader::add_runs(Upload u, const WeightSpec& w) {
  u.skip_bytes = 0;
  for (size_t i = 0; i < w.coded.runs.size(); ++i) {
    const TrellisRun& run = w.coded.runs[i];
    const int64_t n_rows = w.coded.end_row(i, w.n_rows) - run.first_row;
    u.row_bytes = static_cast<uint64_t>(row_bytes(run.dtype, w.n_cols));
    u.n_rows = stored_rows(run.dtype, n_rows);
    u.to_row = run.first_row;
    u.n_padding = u.n_rows - n_rows;
    uploads_.push_back(u);
    u.skip_bytes += u.row_bytes * static_cast<uint64_t>(u.n_rows);
  }
}

// Chunks as large as the staging buffer allows, in the multiple the back end packs.
void Loader::next_weight() {
  row_ = filled_rows_ = 0;
  if (upload_ == uploads_.size()) {
    phase_ = Phase::ready;
    staging_ = {};
    uploads_ = {};
    header_ = {};
    return;
  }
  const Upload& u = uploads_[upload_];
  if (u.tensor->transform == TensorTransform::transposed) {
    chunk_rows_ = u.tensor->n_cols;  // the file's rows, all at once
    return;
  }
  const int64_t multiple = model_->backend->upload_row_multiple(u.weight);
  const auto rows = static_cast<int64_t>(kStagingBytes / std::max<uint64_t>(1, u.row_bytes));
  chunk_rows_ = std::min(u.n_rows, std::max<int64_t>(1, rows / multiple) * multiple);
}

// The whole tensor is in staging_; the weight may be some of its rows.
Status Loader::commit_transposed(const Upload& u) {
  const TensorEntry& t = *u.tensor;
  done_bytes_ += requested_bytes_ * static_cast<uint64_t>(u.n_rows) / static_cast<uint64_t>(t.n_rows);
  staging_ = transpose(staging_, t.n_cols, t.n_rows);
  const size_t row = staging_.size() / static_cast<size_t>(t.n_rows);
  const std::span<const uint8_t> rows = std::span(staging_).subspan(row * static_cast<size_t>(u.first_row),
                                                                    row * static_cast<size_t>(u.n_rows));
  RETURN_IF_ERROR(model_->backend->upload(u.weight, 0, u.n_rows, rows));
  ++upload_;
  next_weight();
  return {};
}

Status Loader::commit_weight() {
  const Upload& u = uploads_[upload_];
  if (u.tensor->transform == TensorTransform::transposed) return commit_transposed(u);
  done_bytes_ += requested_bytes_;
  filled_rows_ += static_cast<int64_t>(requested_bytes_ / u.row_bytes);
  if (filled_rows_ < chunk_rows_) return {};
  const int64_t n =
      std::min(chunk_rows_, u.n_rows - u.n_padding - row_);  // without the padding of coded rows
  if (u.tensor->transform == TensorTransform::plus_one)
    staging_ = plus_one(u.tensor->stored_dtype, staging_, chunk_rows_ * u.tensor->n_cols);
  RETURN_IF_ERROR(model_->backend->upload(u.weight, u.to_row + row_, n, staging_));
  row_ += chunk_rows_;
  filled_rows_ = 0;
  chunk_rows_ = std::min(chunk_rows_, u.n_rows - row_);
  if (row_ < u.n_rows) return {};
  ++upload_;
  next_weight();
  return {};
}

}  // namespace nutshell
