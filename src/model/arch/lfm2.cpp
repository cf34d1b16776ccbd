// lfm2: Liquid AI's LFM2, dense. Layers without key/value heads (head_count_kv is a list) mix positions by a
// gated short convolution, the others by attention as qwen3 does. The norm at the end is called
// token_embd_norm in files.
#include "model/hf/json.h"
#include "model/layer.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file, Layers::may_vary));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.integer("shortconv.l_cache", 2, kMaxConvKernel, p.conv_kernel));
  return p;
}

// x += out_proj(conv(in_proj(h)))
void add_conv(GraphBuilder& g, const HParams& p, int64_t il, ActId x, ActId h) {
  const auto name = [il](std::string_view suffix) { return block_tensor(il, suffix); };
  const ActId bcx = g.linear(h, g.matrix(name("shortconv.in_proj.weight"), 3 * p.n_embd, p.n_embd));
  const WeightId kernel = g.values(name("shortconv.conv.weight"), p.n_embd, p.conv_kernel);
  g.add_linear(x, g.short_conv(bcx, kernel, p.n_embd, p.conv_kernel),
               g.matrix(name("shortconv.out_proj.weight"), p.n_embd, p.n_embd));
}

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const int32_t rope = g.rope_spec(make_rope(p.rope));
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) {
    const ActId h = g.rms_norm(x, g.vector(block_tensor(il, "attn_norm.weight"), p.n_embd), p.rms_eps);
    if (p.n_head_kv_of(il) == 0)
      add_conv(g, p, il, x, h);
    else
      add_attention(g, p, {.qk_norm = true}, il, rope, x, h);
    const ActId f = g.rms_norm(x, g.vector(block_tensor(il, "ffn_norm.weight"), p.n_embd), p.rms_eps);
    add_feed_forward(g, p, {}, il, x, f, p.n_ff);
  }
  add_head(g, p, x, "token_embd_norm.weight");
}

constexpr std::string_view kClasses[] = {"Lfm2ForCausalLM"};
constexpr HfKey kKeys[] = {
    {"norm_eps", "attention.layer_norm_rms_epsilon"},
    {"conv_L_cache", "shortconv.l_cache"},
};
constexpr HfTensor kTensors[] = {
    {"embedding_norm.weight", "token_embd_norm.weight"},
    {"layers.{l}.operator_norm.weight", "blk.{l}.attn_norm.weight"},
    {"layers.{l}.ffn_norm.weight", "blk.{l}.ffn_norm.weight"},
    {"layers.{l}.self_attn.out_proj.weight", "blk.{l}.attn_output.weight"},
    {"layers.{l}.self_attn.q_layernorm.weight", "blk.{l}.attn_q_norm.weight"},
    {"layers.{l}.self_attn.k_layernorm.weight", "blk.{l}.attn_k_norm.weight"},
    {"layers.{l}.conv.in_proj.weight", "blk.{l}.shortconv.in_proj.weight"},
    {"layers.{l}.conv.conv.weight", "blk.{l}.shortconv.conv.weight"},
    {"layers.{l}.conv.out_proj.weight", "blk.{l}.shortconv.out_proj.weight"},
    {"layers.{l}.feed_forward.w1.weight", "blk.{l}.ffn_gate.weight"},
    {"layers.{l}.feed_forward.w3.weight", "blk.{l}.ffn_up.weight"},
    {"layers.{l}.feed_forward.w2.weight", "blk.{l}.ffn_down.weight"},
};

// Which layers attend: a list of types, or of the attending layers' numbers.
Result<std::vector<bool>> attending_layers(const HfConfig& config, int64_t n_layer) {
  std::vector<bool> attends(static_cast<size_t>(n_layer));
  if (config.has("layer_types")) {
    ASSIGN_OR_RETURN(const std::vector<std::string> types, config.texts("layer_types"));
    if (types.size() != attends.size())
      return Status(ErrorCode::corrupt_file, config.file() + ": layer_types has " +
                                                 std::to_string(types.size()) + " entries for " +
                                                 std::to_string(n_layer) + " layers");
    for (size_t il = 0; il < types.size(); ++il) attends[il] = types[il] == "full_attention";
    return attends;
  }
  ASSIGN_OR_RETURN(const std::vector<float> numbers, config.numbers("full_attn_idxs"));
  for (const float number : numbers) {
    if (!(number >= 0 && number < static_cast<float>(n_layer)))
      return Status(ErrorCode::corrupt_file,
                    config.file() + ": full_attn_idxs names a layer that is not there");
    attends[static_cast<size_t>(number)] = true;
  }
  return attends;
}

// The width that transformers makes of intermediate_size (Lfm2MLP).
Result<int64_t> feed_forward_width(const HfConfig& config) {
  constexpr int64_t kMaxWidth = 1 << 20;
  const char* key = config.has("block_ff_dim") ? "block_ff_dim" : "intermediate_size";
  ASSIGN_OR_RETURN(int64_t n_ff, config.integer(key));
  ASSIGN_OR_RETURN(const bool adjust, config.boolean("block_auto_adjust_ff_dim", true));
  ASSIGN_OR_RETURN(const double factor, config.number("block_ffn_dim_multiplier", 1.0));
  ASSIGN_OR_RETURN(const int64_t multiple, config.integer("block_multiple_of", 256));
  if (n_ff < 1 || n_ff > kMaxWidth || !(factor > 0 && factor < 100) || multiple < 1 || multiple > kMaxWidth)
    return Status(ErrorCode::corrupt_file, config.file() + ": the width of the feed-forward network");
  if (!adjust) return n_ff;
  n_ff = static_cast<int64_t>(factor * static_cast<double>(2 * n_ff / 3));  // both are cut, as there
  return (n_ff + multiple - 1) / multiple * multiple;
}

Status translate(const HfConfig& config, HfModel& out) {
  ASSIGN_OR_RETURN(const int64_t n_layer, config.integer("num_hidden_layers"));
  ASSIGN_OR_RETURN(const int64_t n_head_kv, config.integer("num_key_value_heads"));
  if (n_layer < 1 || n_layer > 1024)
    return {ErrorCode::corrupt_file, config.file() + ": " + std::to_string(n_layer) + " layers"};
  ASSIGN_OR_RETURN(const std::vector<bool> attends, attending_layers(config, n_layer));
  std::vector<int64_t> heads;
  for (const bool attending : attends) heads.push_back(attending ? n_head_kv : 0);
  out.metadata.add(out.key("attention.head_count_kv"), std::span<const int64_t>(heads));
  ASSIGN_OR_RETURN(const int64_t n_ff, feed_forward_width(config));
  out.metadata.add(out.key("feed_forward_length"), n_ff);
  return {};
}

constexpr HfDef kHf = {.classes = kClasses,
                       .keys = kKeys,
                       .tensors = kTensors,
                       .base = &hf_decoder,
                       .tied = true,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_lfm2 = {"lfm2", &read, {}, &build, &kHf};

}  // namespace nutshell
