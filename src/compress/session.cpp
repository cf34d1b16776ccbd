#include "compress/session.h"

#include <algorithm>
#include <cmath>

#include "compress/texts.h"

namespace nutshell::compress {
namespace {

using nlohmann::json;

// Models up to this size are calibrated: larger ones do not fit into 32 bits of addresses twice as f32.
constexpr uint64_t kMostCalibrated = 300'000'000;
constexpr int64_t kWindowTokens[] = {512, 256, 128};

template <typename T>
T get_or(const json& object, const char* key, T fallback) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<T>() : fallback;
}

Result<std::vector<ModelFile>> files_of(const json& request) {
  const auto list = request.find("files");
  std::vector<ModelFile> files;
  if (list != request.end() && list->is_array())
    for (const json& file : *list)
      if (file.is_object() && file.value("name", json()).is_string())
        files.push_back({file["name"].get<std::string>(), get_or<uint64_t>(file, "bytes", 0)});
  if (files.empty()) return Status(ErrorCode::invalid_argument, "no files are given");
  return files;
}

json pointer_of(const void* p) { return reinterpret_cast<uintptr_t>(p); }

json step_json(const JobStep& step) {
  switch (step.kind) {
    case JobStep::Kind::worked:
      return {{"state", "work"}, {"stage", name_of(step.stage)}, {"done", step.done}, {"of", step.of}};
    case JobStep::Kind::read:
      return {{"state", "read"},
              {"file", step.file},
              {"offset", step.offset},
              {"length", step.target.size()},
              {"pointer", pointer_of(step.target.data())}};
    case JobStep::Kind::recall:
      return {{"state", "recall"},
              {"name", step.name},
              {"length", step.target.size()},
              {"pointer", pointer_of(step.target.data())}};
    case JobStep::Kind::keep:
      return {{"state", "keep"},
              {"name", step.name},
              {"length", step.bytes.size()},
              {"pointer", pointer_of(step.bytes.data())}};
    case JobStep::Kind::drop:
      return {{"state", "drop"}, {"name", step.name}};
    case JobStep::Kind::write:
      return {{"state", "write"}, {"length", step.bytes.size()}, {"pointer", pointer_of(step.bytes.data())}};
  }
  return json::object();
}

Status not_yet(const char* what) {
  return {ErrorCode::invalid_argument, std::string("this call comes after ") + what};
}

}  // namespace

CompressSession::Reply CompressSession::begin(std::string what, Steps steps) {
  under_way_ = std::move(what);
  steps_.emplace(std::move(steps));
  return json::object();
}

CompressSession::Reply CompressSession::open(const json& request) {
  if (opened_ || steps_) return Status(ErrorCode::invalid_argument, "a model was opened before");
  ASSIGN_OR_RETURN(std::vector<ModelFile> files, files_of(request));
  const json name = request.value("name", json());
  name_ = name.is_string() ? name.get<std::string>() : files[0].name;
  return begin("open", read_header(std::move(files)));
}

Steps CompressSession::read_header(std::vector<ModelFile> files) {
  HeaderReader reader(std::move(files));
  for (;;) {
    auto request = reader.next();
    CO_RETURN_IF_ERROR(request.status());
    if (!request->has_value()) break;
    const ReadRequest& read = **request;
    co_yield read_into(read.file, read.offset, {read.target, static_cast<size_t>(read.length)});
    CO_RETURN_IF_ERROR(reader.commit());
  }
  auto header = reader.take();
  CO_RETURN_IF_ERROR(header.status());
  RUN_STEPS(open_source(std::move(*header), source_));
  if (!source_.hparams.name.empty()) name_ = source_.hparams.name;
  calibrated_ = parameters() <= kMostCalibrated && source_.measurable.ok();
  opened_ = true;
  co_return Status();
}

uint64_t CompressSession::parameters() const {
  uint64_t n = 0;
  for (const TensorEntry& t : source_.header.tensors.entries())
    n += static_cast<uint64_t>(t.n_rows * t.n_cols);
  return n;
}

CompressSession::Reply CompressSession::describe() const {
  if (!opened_) return not_yet("the steps of open()");
  return json{{"calibrated", calibrated_},
              {"name", name_},
              {"architecture", source_.architecture},
              {"parameters", parameters()},
              {"bytes", source_.header.file_bytes}};
}

// The texts as ids. Precondition: describe() said that they are wanted.
Status CompressSession::read_texts(const json& request) {
  const auto each = [&](const char* key, auto&& take) -> Status {
    const auto list = request.find(key);
    if (list == request.end() || !list->is_array()) return {};
    for (const json& text : *list) {
      if (!text.is_object() || !text.value("name", json()).is_string() ||
          !text.value("text", json()).is_string())
        return {ErrorCode::invalid_argument, std::string(key) + " is a list of {name, text}"};
      ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                       encode_calibration(*source_.tokenizer, text["name"].get_ref<const std::string&>(),
                                          text["text"].get_ref<const std::string&>()));
      take(ids);
    }
    return {};
  };
  RETURN_IF_ERROR(each("evaluation", [&](const std::vector<int32_t>& ids) {
    evaluation_.insert(evaluation_.end(), ids.begin(), ids.end());
  }));
  const bool split = evaluation_.empty();
  return each("calibration", [&](const std::vector<int32_t>& ids) {
    const auto cut =
        ids.begin() + static_cast<std::ptrdiff_t>(split ? ids.size() - ids.size() / 8 : ids.size());
    calibration_.insert(calibration_.end(), ids.begin(), cut);
    evaluation_.insert(evaluation_.end(), cut, ids.end());
  });
}

// The longest windows that memory allows; without data where none are.
CompressOptions CompressSession::options_of(const json& request) const {
  CompressOptions options;
  options.data_free = !calibrated_;
  options.windows = std::clamp<int64_t>(get_or<int64_t>(request, "windows", 8), 1, 1000);
  options.held_out = std::clamp<int64_t>(get_or<int64_t>(request, "heldOut", 8), 0, 1000);
  options.seed = get_or<uint64_t>(request, "seed", 1);
  options.memory_limit = get_or<uint64_t>(request, "memoryLimit", 0);
  const int64_t tokens = options.windows * kWindowTokens[0], held_out = options.held_out * kWindowTokens[0];
  for (const int64_t length : kWindowTokens) {
    options.window_tokens = length;
    options.windows = tokens / length;
    options.held_out = held_out / length;
    const uint64_t needed = plan_memory(source_.graph, options, kInputWindows * options.windows).total();
    if (options.memory_limit == 0 || needed <= options.memory_limit) return options;
  }
  options.data_free = true;
  return options;
}

CompressSession::Reply CompressSession::plan(const json& request) {
  if (!opened_ || job_) return not_yet("the steps of open(), once");
  if (calibrated_) RETURN_IF_ERROR(read_texts(request));
  if (const auto kept = request.find("kept"); kept != request.end() && kept->is_array())
    for (const json& entry : *kept)
      if (entry.is_object() && entry.value("name", json()).is_string())
        kept_[entry["name"].get<std::string>()] = get_or<uint64_t>(entry, "bytes", 0);
  const CompressOptions options = options_of(request);
  calibrated_ = !options.data_free;
  auto job = std::make_unique<CompressJob>(source_, options, calibration_, evaluation_, pool_,
                                           [this](const std::string& name) {
                                             const auto it = kept_.find(name);
                                             return it == kept_.end() ? uint64_t{0} : it->second;
                                           });
  RETURN_IF_ERROR(job->check());
  job_ = std::move(job);
  const uint64_t largest = job_->largest_bytes();
  return json{{"calibrated", calibrated_},
              {"smallestBytes", job_->smallest_bytes()},
              {"largestBytes", largest},
              {"memoryBytes", job_->memory().total()},
              {"storageBytes", job_->kept_bytes(largest) + largest},
              {"windowTokens", options.window_tokens}};
}

CompressSession::Reply CompressSession::analyse() {
  if (!job_) return not_yet("plan()");
  if (steps_ && under_way_ == "analyse") return json::object();
  return begin("analyse", job_->analyse());
}

CompressSession::Reply CompressSession::make(const json& request) {
  if (!job_ || !job_->analysed()) return not_yet("the steps of analyse()");
  const auto bytes = get_or<uint64_t>(request, "bytes", 0);
  RETURN_IF_ERROR(job_->check_size(bytes));
  const std::string what = "make " + std::to_string(bytes);
  if (steps_ && under_way_ == what) return json::object();
  return begin(what, job_->make(bytes));
}

CompressSession::Reply CompressSession::sizes(const json& request) const {
  if (!job_ || !job_->analysed()) return not_yet("the steps of analyse()");
  json sizes = json::array();
  if (const auto list = request.find("bytes"); list != request.end() && list->is_array())
    for (const json& each : *list) {
      const uint64_t bytes = each.is_number() ? each.get<uint64_t>() : 0;
      ASSIGN_OR_RETURN(const Prediction p, job_->predict(bytes));
      sizes.push_back({{"bytes", bytes},
                       {"bitsPerWeight", p.bits_per_weight},
                       {"predictedKl", calibrated_ ? json(p.kl) : json()},
                       {"memoryBytes", engine_bytes(bytes)}});
    }
  return json{{"sizes", std::move(sizes)}};
}

// Packed weights take what the file takes; vectors, activations and the module itself some MB.
uint64_t CompressSession::engine_bytes(uint64_t file_bytes) const {
  constexpr int64_t kContext = 2048, kPrefill = 128, kValueBytes = 2;
  constexpr uint64_t kModule = 40u << 20;
  int64_t context = 0, widest = 0;
  for (const Op& op : source_.graph.ops)
    if (const auto* a = std::get_if<AttentionOp>(&op))
      context += a->n_head_kv * (a->head_dim + a->head_dim_v) * kValueBytes;
  for (const ActSpec& act : source_.graph.acts)
    if (!act.per_output) widest = std::max(widest, act.width);
  return file_bytes + static_cast<uint64_t>(context * std::min(kContext, source_.hparams.n_ctx_train)) +
         static_cast<uint64_t>(8 * widest * kPrefill) * sizeof(float) + kModule;
}

bool CompressSession::threads_are_late() {
  using Clock = std::chrono::steady_clock;
  if (!waiting_since_) waiting_since_ = Clock::now();
  return pool_.n_threads() < pool_.max_threads() && Clock::now() - *waiting_since_ < std::chrono::seconds(2);
}

CompressSession::Reply CompressSession::step() {
  if (!steps_) return Status(ErrorCode::invalid_argument, "nothing is under way");
  if (threads_are_late()) return json{{"state", "wait"}};
  if (steps_->next()) {
    const JobStep& step = steps_->step();
    if (step.kind == JobStep::Kind::keep) kept_[std::string(step.name)] = step.bytes.size();
    if (step.kind == JobStep::Kind::drop) kept_.erase(std::string(step.name));
    return step_json(step);
  }
  const Status ended = steps_->status();
  steps_.reset();
  if (!ended.ok()) return ended;
  return json{{"state", "done"}};
}

CompressSession::Reply CompressSession::result() const {
  if (!job_) return not_yet("the steps of make()");
  const CompressReport& r = job_->report();
  const Comparison& q = r.quality;
  const auto measured = [&](double value) { return q.scored > 0 ? json(value) : json(); };
  return json{{"bytes", r.bytes},
              {"bitsPerWeight", r.bits_per_weight},
              {"predictedKl", calibrated_ ? json(r.predicted_kl) : json()},
              {"meanKl", measured(q.mean_kl)},
              {"top1Agreement", measured(q.top1_agreement)},
              {"perplexityBefore", measured(q.perplexity_before)},
              {"perplexityAfter", measured(q.perplexity_after)}};
}

}  // namespace nutshell::compress
