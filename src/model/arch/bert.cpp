// bert: sentence embedding models of the BERT family (MiniLM, BGE). Embeddings of token, position and type 0;
// attention sees the whole text; LayerNorm after each half of a layer; feed-forward without gate (exact
// GELU). The output is a vector per token; the engine pools them.
#include <cmath>

#include "model/arch/arch.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.number("attention.layer_norm_epsilon", 0.0, 1.0, p.rms_eps));
  ASSIGN_OR_RETURN(p.n_token_types, file.get_i64("tokenizer.ggml.token_type_count", 2));
  if (p.n_token_types < 1 || p.n_token_types > 64)
    return Status(ErrorCode::limit_exceeded, std::to_string(p.n_token_types) + " token types");
  int64_t pooling = 0;
  RETURN_IF_ERROR(r.integer("pooling_type", 0, 4, pooling, 1));
  if (pooling > 2)
    return Status(
        ErrorCode::unsupported_architecture,
        "pooling type " + std::to_string(pooling) + " is not supported; supported: mean (1), first (2)");
  p.pooling = pooling == 2 ? Pooling::first : Pooling::mean;
  ASSIGN_OR_RETURN(p.normalize, file.get_bool(kNormalizeKey, true));
  ASSIGN_OR_RETURN(p.max_text_tokens, file.get_i64(kMaxTextTokensKey, 0));
  if (p.max_text_tokens < 0)
    return Status(ErrorCode::corrupt_file, "texts of " + std::to_string(p.max_text_tokens) + " tokens");
  return p;
}

class Encoder {
 public:
  Encoder(GraphBuilder& g, const HParams& p) : g_(g), p_(p) {}

  ActId norm(const std::string& name, ActId in) {
    return g_.layer_norm(in, g_.vector(name + ".weight", p_.n_embd), g_.vector(name + ".bias", p_.n_embd),
                         p_.rms_eps);
  }
  ActId layer(int64_t il, ActId x) {
    const auto name = [il](std::string_view suffix) { return block_tensor(il, suffix); };
    const int64_t n = p_.n_embd;
    const auto qkv = g_.linears(
        x, {product(name("attn_q"), n, n), product(name("attn_k"), n, n), product(name("attn_v"), n, n)});
    GraphBuilder::Attention a{p_.n_head, p_.n_head_kv, p_.head_dim,
                              1.0f / std::sqrt(static_cast<float>(p_.head_dim))};
    a.causal = false;
    add(x, g_.attend(qkv[0], qkv[1], qkv[2], a), product(name("attn_output"), n, n));
    const ActId h = norm(name("attn_output_norm"), x);
    const ActId up = g_.linears(h, {product(name("ffn_up"), p_.n_ff, n)})[0];
    add(h, g_.activate(up, Activation::gelu_erf), product(name("ffn_down"), n, p_.n_ff));
    return norm(name("layer_output_norm"), h);
  }

 private:
  GraphBuilder::Product product(const std::string& name, int64_t n_out, int64_t n_in) {
    return {g_.matrix(name + ".weight", n_out, n_in), g_.optional_vector(name + ".bias", n_out)};
  }
  void add(ActId to, ActId what, const GraphBuilder::Product& p) {
    g_.add_linear(to, what, p.weight, p.bias);
  }

  GraphBuilder& g_;
  const HParams& p_;
};

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  if (g.has("token_types.weight")) g.embed_first(x, g.table("token_types.weight", p.n_token_types, p.n_embd));
  g.embed_positions(x, g.table("position_embd.weight", p.n_ctx_train, p.n_embd));
  Encoder encoder(g, p);
  x = encoder.norm("token_embd_norm", x);
  for (int64_t il = 0; il < p.n_layer; ++il) x = encoder.layer(il, x);
  g.logits(g.select_outputs(x));
}

constexpr std::string_view kClasses[] = {"BertModel", "BertForMaskedLM", "BertForPreTraining"};
constexpr std::string_view kActivations[] = {"gelu"};
constexpr HfKey kKeys[] = {
    {"hidden_size", "embedding_length"},           {"num_hidden_layers", "block_count"},
    {"intermediate_size", "feed_forward_length"},  {"num_attention_heads", "attention.head_count"},
    {"max_position_embeddings", "context_length"}, {"layer_norm_eps", "attention.layer_norm_epsilon"},
};
constexpr HfTensor kTensors[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight"},
    {"embeddings.position_embeddings.weight", "position_embd.weight"},
    {"embeddings.token_type_embeddings.weight", "token_types.weight"},
    {"embeddings.LayerNorm.weight", "token_embd_norm.weight"},
    {"embeddings.LayerNorm.bias", "token_embd_norm.bias"},
    {"embeddings.position_ids", ""},
    {"encoder.layer.{l}.attention.self.query.weight", "blk.{l}.attn_q.weight"},
    {"encoder.layer.{l}.attention.self.query.bias", "blk.{l}.attn_q.bias"},
    {"encoder.layer.{l}.attention.self.key.weight", "blk.{l}.attn_k.weight"},
    {"encoder.layer.{l}.attention.self.key.bias", "blk.{l}.attn_k.bias"},
    {"encoder.layer.{l}.attention.self.value.weight", "blk.{l}.attn_v.weight"},
    {"encoder.layer.{l}.attention.self.value.bias", "blk.{l}.attn_v.bias"},
    {"encoder.layer.{l}.attention.output.dense.weight", "blk.{l}.attn_output.weight"},
    {"encoder.layer.{l}.attention.output.dense.bias", "blk.{l}.attn_output.bias"},
    {"encoder.layer.{l}.attention.output.LayerNorm.weight", "blk.{l}.attn_output_norm.weight"},
    {"encoder.layer.{l}.attention.output.LayerNorm.bias", "blk.{l}.attn_output_norm.bias"},
    {"encoder.layer.{l}.intermediate.dense.weight", "blk.{l}.ffn_up.weight"},
    {"encoder.layer.{l}.intermediate.dense.bias", "blk.{l}.ffn_up.bias"},
    {"encoder.layer.{l}.output.dense.weight", "blk.{l}.ffn_down.weight"},
    {"encoder.layer.{l}.output.dense.bias", "blk.{l}.ffn_down.bias"},
    {"encoder.layer.{l}.output.LayerNorm.weight", "blk.{l}.layer_output_norm.weight"},
    {"encoder.layer.{l}.output.LayerNorm.bias", "blk.{l}.layer_output_norm.bias"},
    // How the first checkpoints name scale and shift of a norm.
    {"embeddings.LayerNorm.gamma", "token_embd_norm.weight"},
    {"embeddings.LayerNorm.beta", "token_embd_norm.bias"},
    {"encoder.layer.{l}.attention.output.LayerNorm.gamma", "blk.{l}.attn_output_norm.weight"},
    {"encoder.layer.{l}.attention.output.LayerNorm.beta", "blk.{l}.attn_output_norm.bias"},
    {"encoder.layer.{l}.output.LayerNorm.gamma", "blk.{l}.layer_output_norm.weight"},
    {"encoder.layer.{l}.output.LayerNorm.beta", "blk.{l}.layer_output_norm.bias"},
    // Heads of the training; a sentence is pooled by mean or first token instead.
    {"pooler.dense.weight", ""},
    {"pooler.dense.bias", ""},
    {"cls.predictions.bias", ""},
    {"cls.predictions.decoder.weight", ""},
    {"cls.predictions.decoder.bias", ""},
    {"cls.predictions.transform.dense.weight", ""},
    {"cls.predictions.transform.dense.bias", ""},
    {"cls.predictions.transform.LayerNorm.weight", ""},
    {"cls.predictions.transform.LayerNorm.bias", ""},
    {"cls.predictions.transform.LayerNorm.gamma", ""},
    {"cls.predictions.transform.LayerNorm.beta", ""},
    {"cls.seq_relationship.weight", ""},
    {"cls.seq_relationship.bias", ""},
};

Status translate(const HfConfig& config, HfModel& out) {
  ASSIGN_OR_RETURN(const int64_t types, config.integer("type_vocab_size", 2));
  out.metadata.add("tokenizer.ggml.token_type_count", types);
  ASSIGN_OR_RETURN(const std::string positions, config.text("position_embedding_type", "absolute"));
  if (positions == "absolute") return {};
  return {ErrorCode::unsupported_architecture, "the position embedding " + nutshell::quoted(positions) +
                                                   " of " + config.file() +
                                                   " is not supported; supported: absolute"};
}

constexpr HfDef kHf = {.classes = kClasses,
                       .prefix = "bert.",
                       .keys = kKeys,
                       .tensors = kTensors,
                       .activations = kActivations,
                       .embeds = true,
                       .translate = &translate};
//

}  // namespace

extern const ArchDef arch_bert = {"bert", &read, {}, &build, &kHf};

}  // namespace nutshell
