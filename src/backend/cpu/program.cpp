#include "backend/cpu/program.h"

#include <algorithm>
#include <limits>

namespace nutshell::cpu {
namespace {

template <typename... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

using ActList = std::vector<ActId>;
struct Uses {
  ActList reads, writes;
};

Uses uses_of(const Op& op) {
  return std::visit(Overloaded{
                        [](const EmbedOp& o) {
                          return Uses{o.accumulate ? ActList{o.out} : ActList{}, {o.out}};
                        },
                        [](const RmsNormOp& o) {
                          return Uses{{o.in}, {o.out}};
                        },
                        [](const LayerNormOp& o) {
                          return Uses{{o.in}, {o.out}};
                        },
                        [](const SoftcapOp& o) {
                          return Uses{{o.x}, {o.x}};
                        },
                        [](const LinearOp& o) {
                          Uses u{{o.in}, {}};
                          for (const LinearOp::Part& p : o.parts) {
                            u.writes.push_back(p.out);
                            if (p.accumulate) u.reads.push_back(p.out);
                          }
                          return u;
                        },
                        [](const RopeOp& o) {
                          return Uses{{o.x}, {o.x}};
                        },
                        [](const AttentionOp& o) {
                          return Uses{{o.q, o.k, o.v}, {o.out}};
                        },
                        [](const GatedActivationOp& o) {
                          return Uses{o.up == kNone ? ActList{o.gate} : ActList{o.gate, o.up}, {o.out}};
                        },
                        [](const AddOp& o) {
                          return Uses{{o.a, o.b}, {o.out}};
                        },
                        [](const SelectRowsOp& o) {
                          return Uses{{o.in}, {o.out}};
                        },
                        [](const CopyHeadsOp& o) {
                          return Uses{{o.in, o.out}, {o.out}};  // the rest of out stays
                        },
                        [](const HeadLinearOp& o) {
                          return Uses{{o.in, o.out}, {o.out}};
                        },
                        [](const ExpertsOp& o) {
                          return Uses{{o.in, o.logits, o.out}, {o.out}};
                        },
                        [](const ShortConvOp& o) {
                          return Uses{{o.in}, {o.out}};
                        },
                    },
                    op);
}

bool contains(const ActList& list, ActId id) { return std::find(list.begin(), list.end(), id) != list.end(); }

class Builder {
 public:
  Builder(const Graph& graph, const Extents& extents) : graph_(graph), extents_(extents) {
    readers_.resize(graph.acts.size(), 0);
    for (const Op& op : graph.ops) {
      uses_.push_back(uses_of(op));
      ActList& reads = uses_.back().reads;
      std::sort(reads.begin(), reads.end());
      reads.erase(std::unique(reads.begin(), reads.end()), reads.end());
      for (const ActId id : reads) ++readers_[static_cast<size_t>(id)];
    }
    absorbed_.resize(graph.ops.size(), false);
  }

  Program build() {
    for (size_t i = 0; i < graph_.ops.size(); ++i) absorb_heads(i);
    for (size_t i = 0; i < graph_.ops.size(); ++i) {
      if (!absorbed_[i]) emit(i);
    }
    place();
    return std::move(program_);
  }

 private:
  // The op that made `in` last before op i, when op i is its only reader, nothing it needs is written in
  // between or by op i, and its output is not the logits.
  const Op* producer(size_t i, ActId in, size_t* at) const {
    if (in == graph_.logits) return nullptr;
    size_t p = i;
    while (p > 0 && !contains(uses_[p - 1].writes, in)) --p;
    if (p == 0) return nullptr;
    --p;
    if (readers_[static_cast<size_t>(in)] != 1) return nullptr;
    for (size_t j = p + 1; j <= i; ++j)
      for (ActId read : uses_[p].reads)
        if (contains(uses_[j].writes, read)) return nullptr;
    *at = p;
    return &graph_.ops[p];
  }

  // Rope and in-place head norms right before an attention, on its q and k.
  void absorb_heads(size_t i) {
    const auto* attention = std::get_if<AttentionOp>(&graph_.ops[i]);
    if (attention == nullptr) return;
    AttentionStep step{*attention, {}, {}, false};
    for (size_t j = i; j-- > 0;) {
      const ActId x = uses_[j].writes.empty() ? kNone : uses_[j].writes[0];
      if (x != attention->q && x != attention->k) break;
      HeadPrep& prep = x == attention->q ? step.q : step.k;
      if (read_elsewhere(x, j, i)) break;
      if (const auto* rope = std::get_if<RopeOp>(&graph_.ops[j]);
          rope != nullptr && rope->offset == 0 && prep.rope == kNone && prep.norm == kNone) {
        prep.rope = rope->rope;
        prep.style = rope->style;
      } else if (const auto* norm = std::get_if<RmsNormOp>(&graph_.ops[j]);
                 norm != nullptr && norm->in == norm->out && norm->group == attention->head_dim &&
                 prep.norm == kNone) {
        prep.norm = norm->weight;
        prep.eps = norm->eps;
      } else {
        break;
      }
      absorbed_[j] = true;
    }
    attention_steps_.emplace_back(i, step);
  }

  bool read_elsewhere(ActId x, size_t first, size_t attention) const {
    if (x == graph_.logits) return true;
    for (size_t j = first + 1; j < uses_.size(); ++j)
      if (j != attention && !absorbed_[j] && contains(uses_[j].reads, x)) return true;
    return false;
  }

  void emit(size_t i) {
    std::visit(Overloaded{
                   [&](const EmbedOp& o) { program_.steps.push_back(EmbedStep{o}); },
                   [&](const RmsNormOp& o) { program_.steps.push_back(NormStep{o}); },
                   [&](const LayerNormOp& o) { program_.steps.push_back(LayerNormStep{o}); },
                   [&](const SoftcapOp& o) { program_.steps.push_back(SoftcapStep{o}); },
                   [&](const RopeOp& o) { program_.steps.push_back(RopeStep{o}); },
                   [&](const GatedActivationOp& o) { program_.steps.push_back(GateStep{o}); },
                   [&](const AddOp& o) { program_.steps.push_back(AddStep{o}); },
                   [&](const SelectRowsOp& o) { program_.steps.push_back(SelectStep{o}); },
                   [&](const CopyHeadsOp& o) { program_.steps.push_back(CopyHeadsStep{o}); },
                   [&](const HeadLinearOp& o) { program_.steps.push_back(HeadLinearStep{o}); },
                   [&](const ExpertsOp& o) { program_.steps.push_back(ExpertsStep{o}); },
                   [&](const ShortConvOp& o) { program_.steps.push_back(ShortConvStep{o}); },
                   [&](const LinearOp& o) { emit_linear(i, o); },
                   [&](const AttentionOp&) {
                     for (auto& [at, step] : attention_steps_)
                       if (at == i) program_.steps.push_back(step);
                   },
               },
               graph_.ops[i]);
  }

  // Drops the step that was emitted for op p (producers of sources are emitted before their reader).
  template <typename S>
  void drop_last_writing(ActId out) {
    for (size_t s = program_.steps.size(); s-- > 0;) {
      if (const auto* step = std::get_if<S>(&program_.steps[s]); step != nullptr && step->op.out == out) {
        program_.steps.erase(program_.steps.begin() + static_cast<std::ptrdiff_t>(s));
        return;
      }
    }
  }

  void emit_linear(size_t i, const LinearOp& op) {
    LinearStep step{{}, op};
    step.source.a = op.in;
    size_t p = 0;
    if (const Op* made = producer(i, op.in, &p)) {
      if (const auto* norm = std::get_if<RmsNormOp>(made); norm != nullptr && norm->in != norm->out) {
        step.source.kind = Source::norm;
        step.source.a = norm->in;
        step.source.norm_op = *norm;
        drop_last_writing<NormStep>(op.in);
      } else if (const auto* gate = std::get_if<GatedActivationOp>(made);
                 gate != nullptr && gate->out != gate->gate && gate->out != gate->up) {
        step.source.kind = Source::gated;
        step.source.a = gate->gate;
        step.source.b = gate->up;
        step.source.activation = gate->activation;
        drop_last_writing<GateStep>(op.in);
      } else if (const auto* attention = std::get_if<AttentionOp>(made)) {
        for (Step_& s : program_.steps)
          if (auto* a = std::get_if<AttentionStep>(&s); a != nullptr && a->op.out == op.in)
            a->leave_partials = true;
        step.source.partials = true;
        step.source.attention = *attention;
      }
    }
    program_.steps.push_back(std::move(step));
  }

  static Uses uses_of_step(const Step_& step) {
    if (const auto* linear = std::get_if<LinearStep>(&step)) {
      Uses u = uses_of(Op{linear->op});
      u.reads[0] = linear->source.a;
      if (linear->source.b != kNone) u.reads.push_back(linear->source.b);
      return u;
    }
    return std::visit(
        Overloaded{[](const LinearStep&) { return Uses{}; }, [](const auto& s) { return uses_of(Op{s.op}); }},
        step);
  }

  // First fit: an activation lives from its first to its last step.
  void place() {
    struct Life {
      ActId id;
      size_t first, last;
      int64_t floats, offset = 0;
    };
    std::vector<Life> lives;
    for (size_t a = 0; a < graph_.acts.size(); ++a) {
      const ActSpec& spec = graph_.acts[a];
      const int64_t rows = spec.per_output ? extents_.max_outputs : extents_.max_tokens;
      lives.push_back(
          {static_cast<ActId>(a), std::numeric_limits<size_t>::max(), 0, (rows * spec.width + 15) / 16 * 16});
    }
    for (size_t s = 0; s < program_.steps.size(); ++s) {
      const Uses u = uses_of_step(program_.steps[s]);
      for (const ActList* list : {&u.reads, &u.writes})
        for (ActId id : *list) {
          Life& life = lives[static_cast<size_t>(id)];
          life.first = std::min(life.first, s);
          life.last = std::max(life.last, s);
        }
    }
    if (graph_.logits != kNone) lives[static_cast<size_t>(graph_.logits)].last = program_.steps.size();
    std::stable_sort(lives.begin(), lives.end(),
                     [](const Life& a, const Life& b) { return a.first < b.first; });
    program_.act_offsets.assign(graph_.acts.size(), -1);
    std::vector<Life> placed;
    for (Life& life : lives) {
      if (life.first == std::numeric_limits<size_t>::max()) continue;
      std::erase_if(placed, [&](const Life& other) { return other.last < life.first; });
      std::sort(placed.begin(), placed.end(),
                [](const Life& a, const Life& b) { return a.offset < b.offset; });
      for (const Life& other : placed) {
        if (life.offset + life.floats <= other.offset) break;
        life.offset = std::max(life.offset, other.offset + other.floats);
      }
      placed.push_back(life);
      program_.act_offsets[static_cast<size_t>(life.id)] = life.offset;
      program_.act_floats = std::max(program_.act_floats, life.offset + life.floats);
    }
  }

  const Graph& graph_;
  const Extents& extents_;
  std::vector<Uses> uses_;    // by op; reads: each once
  std::vector<int> readers_;  // ops, by activation
  std::vector<bool> absorbed_;
  std::vector<std::pair<size_t, AttentionStep>> attention_steps_;
  Program program_;
};

}  // namespace

Program make_program(const Graph& graph, const Extents& extents) { return Builder(graph, extents).build(); }

}  // namespace nutshell::cpu
