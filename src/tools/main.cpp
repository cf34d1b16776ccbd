// The native tool: `nutshell <subcommand>`. L6. Parses the command line, runs a command, prints its answer.
// With --json stdout holds exactly one JSON object; all else goes to stderr. Exit status: 0, 1 (bad input), 2
// (bad usage).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <iostream>

#include "compress/pipeline_options.h"
#include "engine/engine.h"
#include "engine/memory_plan.h"
#include "tools/commands.h"

namespace {

using namespace nutshell;
using nlohmann::json;

constexpr const char* kModelHelp = "GGUF file, a part of a split one, or a Hugging Face folder";

struct Main {
  bool as_json = false;
  std::function<Answer()> run;             // of the chosen subcommand
  std::function<void(const json&)> print;  // for people
};

std::string dump(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

int fail(const Status& status, bool as_json) {
  if (as_json) {
    std::cout << dump(error_json(status)) << std::endl;
  } else {
    std::cerr << "nutshell: " << status.message() << "\n" << error_advice(status.code()) << std::endl;
  }
  return status.code() == ErrorCode::usage ? 2 : 1;
}

void print_all(const json& answer) { std::cout << dump(answer, 2) << std::endl; }

void add_generate(CLI::App& app, Main& m, GenerateCommand& c) {
  CLI::App* sub = app.add_subcommand("generate", "Continue a raw prompt");
  sub->add_option("MODEL", c.model, kModelHelp)->required();
  sub->add_option("--prompt", c.prompt, "Text to continue; special tokens in it are recognised")->required();
  sub->add_option("--max-tokens", c.max_tokens, "Tokens to generate at most")->check(CLI::Range(0, 1 << 24));
  sub->add_option("--draft", c.draft, "Tokens to guess ahead at most; the text stays the same")
      ->check(CLI::Range(0, 16));
  sub->add_option("--temperature", c.temperature, "0 is greedy")->check(CLI::Range(0.0, 10.0));
  sub->add_option("--seed", c.seed, "Seed of the random numbers")->check(CLI::NonNegativeNumber);
  sub->add_option("--threads", c.threads, "Threads; 0: all cores")->check(CLI::Range(0, 256));
  sub->add_option("--context", c.context, "Context size in tokens; 0: the default")
      ->check(CLI::Range(0, 1 << 24));
  sub->callback([&] {
    m.run = [&c] { return run_generate(c); };
    m.print = [](const json& a) {
      std::cout << a["text"].get<std::string>() << std::endl;
      std::fprintf(stderr, "\n%zu prompt tokens at %.1f/s, %zu new tokens at %.1f/s, %s, peak memory %s\n",
                   a["prompt_tokens"].size(), a["prefill_tokens_per_second"].get<double>(),
                   a["tokens"].size(), a["decode_tokens_per_second"].get<double>(),
                   a["finish_reason"].get<std::string>().c_str(),
                   format_bytes(a["peak_memory_bytes"].get<uint64_t>()).c_str());
    };
  });
}

void add_tokenize(CLI::App& app, Main& m, TokenizeCommand& c) {
  CLI::App* sub = app.add_subcommand("tokenize", "Token ids of a text, and the text they give back");
  sub->add_option("MODEL", c.model, kModelHelp)->required();
  CLI::Option* text = sub->add_option("--text", c.text, "The text");
  CLI::Option* file = sub->add_option("--file", c.file, "A file with the text")->excludes(text);
  sub->add_flag("--no-special", c.no_special, "Special tokens in the text are plain text");
  sub->callback([&, text, file] {
    if (text->count() + file->count() == 0) throw CLI::RequiredError("--text or --file");
    m.run = [&c] { return run_tokenize(c); };
    m.print = [](const json& a) { std::cout << dump(a["tokens"]) << std::endl; };
  });
}

void add_embed(CLI::App& app, Main& m, EmbedCommand& c) {
  CLI::App* sub = app.add_subcommand("embed", "The vectors of texts, by an embedding model");
  sub->add_option("MODEL", c.model, kModelHelp)->required();
  CLI::Option* text = sub->add_option("--text", c.text, "The text");
  CLI::Option* file = sub->add_option("--file", c.file, "A file with a text per line")->excludes(text);
  sub->add_option("--threads", c.threads, "Threads; 0: all cores")->check(CLI::Range(0, 256));
  sub->add_option("--context", c.context, "Tokens a text may have, longer ones are cut; 0: as the model says")
      ->check(CLI::Range(0, 1 << 24));
  sub->callback([&, text, file] {
    if (text->count() + file->count() == 0) throw CLI::RequiredError("--text or --file");
    m.run = [&c] { return run_embed(c); };
    m.print = [](const json& a) {
      for (const json& vector : a["embeddings"]) std::cout << dump(vector) << "\n";
      std::cout << std::flush;
      for (size_t i = 0; i < a["truncated"].size(); ++i)
        if (a["truncated"][i].get<bool>())
          std::fprintf(stderr,
                       "text %zu is longer than the model reads: its first %lld tokens were embedded\n",
                       i + 1, static_cast<long long>(a["tokens"][i].get<int64_t>()));
    };
  });
}

void add_perplexity(CLI::App& app, Main& m, PerplexityCommand& c) {
  CLI::App* sub = app.add_subcommand("perplexity", "Perplexity of a text, and distance to a reference model");
  sub->add_option("MODEL", c.model, kModelHelp)->required();
  sub->add_option("--file", c.file, "A file with the text")->required();
  sub->add_option("--context", c.context, "Tokens per window")->check(CLI::Range(2, 1 << 24));
  sub->add_option("--tokens", c.tokens, "Only the first N tokens; 0: all")->check(CLI::NonNegativeNumber);
  sub->add_option("--reference", c.reference, "Model to compare with");
  sub->add_option("--threads", c.threads, "Threads; 0: all cores")->check(CLI::Range(0, 256));
  sub->callback([&] {
    m.run = [&c] { return run_perplexity(c); };
    m.print = print_all;
  });
}

void add_compress(CLI::App& app, Main& m, CompressCommand& c) {
  CLI::App* sub = app.add_subcommand("compress", "A smaller model out of a model and texts");
  sub->set_version_flag("--recipe-version", compress::kRecipeVersion,
                        "A word that changes when equal options give another file than before");
  sub->add_option("MODEL", c.model, kModelHelp)->required();
  sub->add_option("-o,--output", c.output, "File to write; appears when it is complete")->required();
  CLI::Option* size = sub->add_option("--size", c.size, "Bytes of the whole file at most");
  CLI::Option* bits = sub->add_option("--bits", c.bits, "Bits per weight of the whole file at most")
                          ->check(CLI::Range(1.0, 16.0))
                          ->excludes(size);
  CLI::Option* max_kl =
      sub->add_option("--max-kl", c.max_kl,
                      "The smallest file whose KL divergence stays below, in nats per token")
          ->check(CLI::Range(1e-6, 100.0))
          ->excludes(size)
          ->excludes(bits);
  sub->add_flag("--data-free", c.data_free, "No calibration: quicker, and worse");
  sub->add_option("--vocabulary", c.vocabulary,
                  "'keep', or a text file: tokens it does not use are taken out of the model");
  sub->add_option(
      "--calibration", c.calibration,
      "Text files to calibrate on, *.jsonl: conversations; without: those of scripts/calibration");
  sub->add_option(
      "--evaluation", c.evaluation,
      "Text files to measure quality on; without: the last eighth of the calibration texts, unseen");
  sub->add_option("--windows", c.windows, "Calibration windows of 512 tokens")->check(CLI::Range(1, 100000));
  sub->add_option("--held-out", c.held_out, "Evaluation windows of 512 tokens; 0: nothing is measured")
      ->check(CLI::Range(0, 100000));
  sub->add_option("--heal", c.heal,
                  "Minutes of healing (of a machine of 40 GFLOP/s): row scales and norms by gradient descent")
      ->check(CLI::Range(0.0, 1e5));
  sub->add_option("--damp-inputs", c.damp_inputs, "Regularisation of input statistics")
      ->check(CLI::Range(0.0, 10.0));
  sub->add_option("--damp-outputs", c.damp_outputs, "Regularisation of gradient statistics")
      ->check(CLI::Range(0.0, 1000.0));
  sub->add_option("--seed", c.seed, "Seed of the random numbers")->check(CLI::NonNegativeNumber);
  sub->add_option("--state", c.state,
                  "Folder for what is worked out; it stays, and other sizes of the model need no measuring");
  sub->add_option("--threads", c.threads, "Threads; 0: all cores")->check(CLI::Range(0, 256));
  sub->callback([&, size, bits, max_kl] {
    if (size->count() + bits->count() + max_kl->count() == 0)
      throw CLI::RequiredError("--size, --bits or --max-kl");
    if (c.data_free && c.heal > 0) throw CLI::ExcludesError("--heal", "--data-free");
    m.run = [&c] { return run_compress(c); };
    m.print = print_all;
  });
}

void add_quantize(CLI::App& app, Main& m, QuantizeCommand& c) {
  CLI::App* sub = app.add_subcommand("quantize", "A model in a plain number format that llama.cpp reads");
  sub->add_option("MODEL", c.model, kModelHelp)->required();
  sub->add_option("-o,--output", c.output, "GGUF file to write; appears when it is complete")->required();
  sub->add_option("--to", c.to, "Q8_0, Q6_K, Q5_0, Q4_K, Q4_1, Q4_0, BF16, F16 or F32")->required();
  sub->add_flag("--pure", c.pure, "The output matrix in this format too; otherwise it has at least Q6_K");
  sub->add_option("--threads", c.threads, "Threads; 0: all cores")->check(CLI::Range(0, 256));
  sub->callback([&] {
    m.run = [&c] { return run_quantize(c); };
    m.print = print_all;
  });
}

void add_inspect(CLI::App& app, Main& m, std::string& file) {
  CLI::App* sub = app.add_subcommand("inspect", "What a model file holds, and whether it can be run");
  sub->add_option("FILE", file, kModelHelp)->required();
  sub->callback([&] {
    m.run = [&file] { return run_inspect(file); };
    m.print = print_all;
  });
}

bool wants_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--json") return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Nutshell: compressed language models on your own device");
  app.name("nutshell");
  app.require_subcommand(1);
  app.fallthrough();
  Main m;
  GenerateCommand generate;
  TokenizeCommand tokenize;
  EmbedCommand embed;
  PerplexityCommand perplexity;
  CompressCommand compress;
  QuantizeCommand quantize;
  std::string inspected;
  app.add_flag("--json", m.as_json, "One JSON object on stdout");
  add_generate(app, m, generate);
  add_tokenize(app, m, tokenize);
  add_embed(app, m, embed);
  add_perplexity(app, m, perplexity);
  add_compress(app, m, compress);
  add_quantize(app, m, quantize);
  add_inspect(app, m, inspected);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    return fail(Status(ErrorCode::usage, e.what()), wants_json(argc, argv));
  }
  const Answer answer = m.run();
  if (!answer.ok()) return fail(answer.status(), m.as_json);
  if (m.as_json) {
    std::cout << dump(*answer) << std::endl;
  } else {
    m.print(*answer);
  }
  return 0;
}
