#include "engine/loader.h"

#include <algorithm>
#include <cstring>

#include "engine/coded_tensors.h"
#include "engine/memory_plan.h"
#include "engine/tokenizer_data.h"
#include "quant/format.h"

namespace nutshell {
namespace {

constexpr int64_t kMaxHostTensorValues = 1u << 16;

uint64_t count_parameters(const TensorIndex& tensors) {
  uint64_t n = 0;
  for (const TensorEntry& t : tensors.entries())
    n += static_cast<uint64_t>(t.n_rows) * static_cast<uint64_t>(t.n_cols);
  return n;
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
      status = stream_->commit();
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
  std::optional<ReadRequest> read;
  if (phase_ == Phase::host_tensors) read = host_request();
  if (phase_ == Phase::weights) read = stream_->next();
  if (read) {
    requested_bytes_ = read->length;
    return read;
  }
  phase_ = Phase::ready;
  done_bytes_ = done_bytes();
  stream_.reset();
  header_ = {};
  return read;
}

ReadRequest Loader::host_request() {
  const TensorEntry& t = *header_.tensors.find(host_names_.back());
  staging_.resize(t.bytes);
  return {t.pieces[0].file, t.pieces[0].offset, t.bytes, staging_.data()};
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
  const uint64_t staging = WeightStream::staging_bytes(header_.tensors, graph.weights);
  ASSIGN_OR_RETURN(model_->needs, check_memory(*model_->backend, graph, extents, staging, available));

  header_.metadata = {};  // no longer needed
  staging_ = {};
  stream_.emplace(*model_->backend, header_.tensors, graph.weights);
  RETURN_IF_ERROR(model_->backend->allocate(std::move(graph), extents));
  phase_ = Phase::weights;
  return {};
}

}  // namespace nutshell
