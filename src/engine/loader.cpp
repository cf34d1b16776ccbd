#include "engine/loader.h"

#include <algorithm>

#include "engine/memory_plan.h"
#include "engine/tokenizer_data.h"
#include "quant/format.h"

namespace nutshell {
namespace {

constexpr uint64_t kFirstHeaderBytes = 4u << 20;
constexpr uint64_t kMaxHeaderBytes = 128u << 20;  // Gemma's 262,144 tokens take about 10 MB
constexpr uint64_t kStagingBytes = 4u << 20;      // weights pass through this much at a time
constexpr int64_t kMaxHostTensorValues = 1u << 16;

uint64_t count_parameters(const TensorIndex& tensors) {
  uint64_t n = 0;
  for (const TensorEntry& t : tensors.entries())
    n += static_cast<uint64_t>(t.n_rows) * static_cast<uint64_t>(t.n_cols);
  return n;
}

}  // namespace

TensorIndex index_tensors(const GgufFile& file) {
  TensorIndex index;
  for (const GgufTensor& t : file.tensors()) {
    TensorEntry entry;
    entry.name = t.name;
    entry.dtype = t.dtype;
    entry.format_name = t.format_name();
    entry.n_cols = t.dims[0];
    entry.n_rows = t.dims[1] * t.dims[2] * t.dims[3];
    entry.file_offset = file.data_offset() + t.offset;
    entry.bytes = t.bytes;
    index.add(std::move(entry));
  }
  return index;
}

Loader::Loader(ThreadPool& pool, LoadOptions options) : pool_(pool), options_(std::move(options)) {}

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
      status = commit_header();
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
  ReadRequest read;
  switch (phase_) {
    case Phase::header: {
      if (options_.file_bytes == 0) return Status(ErrorCode::truncated, "the file is empty");
      const uint64_t want =
          std::min(options_.file_bytes, header_read_ == 0 ? kFirstHeaderBytes : header_read_ * 2);
      staging_.resize(want);
      read = {header_read_, want - header_read_, staging_.data() + header_read_};
      break;
    }
    case Phase::host_tensors: {
      const TensorEntry& t = *tensors_.find(host_names_.back());
      staging_.resize(t.bytes);
      read = {t.file_offset, t.bytes, staging_.data()};
      break;
    }
    case Phase::weights: {
      const Upload& u = uploads_[upload_];
      const int64_t n = std::min(u.chunk_rows, u.n_rows - row_);
      staging_.resize(static_cast<size_t>(u.row_bytes) * static_cast<size_t>(n));
      read = {u.offset + u.row_bytes * static_cast<uint64_t>(row_), staging_.size(), staging_.data()};
      break;
    }
    case Phase::ready:
      return std::optional<ReadRequest>();
  }
  requested_bytes_ = read.length;
  return std::optional<ReadRequest>(read);
}

Status Loader::commit_header() {
  header_read_ = staging_.size();
  ASSIGN_OR_RETURN(file_, parse_gguf(staging_, options_.file_bytes));
  if (file_) return start_model();
  if (header_read_ >= std::min(options_.file_bytes, kMaxHeaderBytes))
    return {ErrorCode::limit_exceeded, "the header is longer than " + format_bytes(kMaxHeaderBytes)};
  return {};
}

Status Loader::start_model() {
  done_bytes_ = file_->data_offset();
  tensors_ = index_tensors(*file_);
  ASSIGN_OR_RETURN(const std::string architecture, file_->get_string("general.architecture"));
  ASSIGN_OR_RETURN(arch_, find_architecture(architecture));

  model_ = std::make_unique<Model>();
  ASSIGN_OR_RETURN(model_->hparams, arch_->read_hparams(*file_));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(*file_));
  model_->special = {data.bos, data.eos, data.eot, data.add_bos};
  if (static_cast<int64_t>(data.tokens.size()) != model_->hparams.n_vocab)
    return {ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(data.tokens.size()) +
                                         " tokens, the model " + std::to_string(model_->hparams.n_vocab)};
  ASSIGN_OR_RETURN(model_->tokenizer, make_tokenizer(std::move(data)));

  ModelInfo& info = model_->info;
  info.name = model_->hparams.name.empty() ? options_.name : model_->hparams.name;
  info.architecture = architecture;
  info.parameters = count_parameters(tensors_);
  info.file_bytes = options_.file_bytes;
  info.n_ctx_train = model_->hparams.n_ctx_train;
  if (file_->has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(info.chat_template, file_->get_string("tokenizer.chat_template"));
  }

  for (const std::string_view name : arch_->host_tensors)
    if (tensors_.find(std::string(name)) != nullptr) host_names_.emplace_back(name);
  if (host_names_.empty()) return start_weights();
  for (const std::string& name : host_names_)
    if (const TensorEntry& t = *tensors_.find(name); t.n_rows * t.n_cols > kMaxHostTensorValues)
      return {ErrorCode::limit_exceeded,
              "the tensor '" + name + "' has " + std::to_string(t.n_rows * t.n_cols) + " values"};
  phase_ = Phase::host_tensors;
  return {};
}

Status Loader::commit_host_tensor() {
  const TensorEntry& t = *tensors_.find(host_names_.back());
  if (!t.dtype)
    return {ErrorCode::unsupported_format,
            "the tensor '" + t.name + "' has the format " + t.format_name + ", which is not supported"};
  std::vector<float>& values = host_[t.name];
  values.resize(static_cast<size_t>(t.n_rows * t.n_cols));
  decode_row(*t.dtype, staging_.data(), t.n_rows * t.n_cols, values.data());
  done_bytes_ += t.bytes;
  host_names_.pop_back();
  return host_names_.empty() ? start_weights() : Status();
}

Status Loader::start_weights() {
  GraphBuilder builder(tensors_);
  arch_->build(builder, model_->hparams, host_);
  ASSIGN_OR_RETURN(Graph graph, builder.finish());

  const int64_t trained = model_->hparams.n_ctx_train;
  Extents& extents = model_->extents;
  extents.n_ctx = options_.context_size > 0 ? options_.context_size : std::min(trained, kDefaultContext);
  extents.max_tokens = std::min(kPrefillTokens, extents.n_ctx);
  extents.max_outputs = std::min(options_.max_outputs, extents.max_tokens);
  if (extents.n_ctx > trained)
    return {ErrorCode::invalid_argument, "a context of " + std::to_string(extents.n_ctx) +
                                             " tokens is more than the " + std::to_string(trained) +
                                             " the model was trained for"};

  model_->backend = make_cpu_backend(pool_);
  uint64_t available = options_.memory_available;
  if (options_.memory_limit > 0 && (available == 0 || options_.memory_limit < available))
    available = options_.memory_limit;
  RETURN_IF_ERROR(check_memory(*model_->backend, graph, extents, kStagingBytes, available));
  ASSIGN_OR_RETURN(model_->needs, model_->backend->plan(graph, extents));

  for (size_t i = 0; i < graph.weights.size(); ++i) {
    const TensorEntry& t = *tensors_.find(graph.weights[i].name);
    uploads_.push_back(
        {static_cast<WeightId>(i), t.file_offset, t.bytes / static_cast<uint64_t>(t.n_rows), t.n_rows, 0});
  }
  std::sort(uploads_.begin(), uploads_.end(),
            [](const Upload& a, const Upload& b) { return a.offset < b.offset; });
  // The header's bytes are no longer needed; the staging buffer shrinks to its working size.
  file_.reset();
  staging_ = {};
  RETURN_IF_ERROR(model_->backend->allocate(std::move(graph), extents));
  phase_ = uploads_.empty() ? Phase::ready : Phase::weights;
  next_weight();
  return {};
}

// Chunks as large as the staging buffer allows, in the multiple the back end packs.
void Loader::next_weight() {
  row_ = 0;
  if (upload_ == uploads_.size()) {
    phase_ = Phase::ready;
    staging_ = {};
    tensors_ = {};
    return;
  }
  Upload& u = uploads_[upload_];
  const int64_t multiple = model_->backend->upload_row_multiple(u.weight);
  const auto rows = static_cast<int64_t>(kStagingBytes / std::max<uint64_t>(1, u.row_bytes));
  u.chunk_rows = std::max<int64_t>(1, rows / multiple) * multiple;
}

Status Loader::commit_weight() {
  const Upload& u = uploads_[upload_];
  const int64_t n = std::min(u.chunk_rows, u.n_rows - row_);
  RETURN_IF_ERROR(model_->backend->upload(u.weight, row_, n, staging_));
  done_bytes_ += staging_.size();
  row_ += n;
  if (row_ < u.n_rows) return {};
  ++upload_;
  next_weight();
  return {};
}

}  // namespace nutshell
