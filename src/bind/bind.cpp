// The border between wasm and JavaScript, for the engine: with compress_bind.cpp the only file that includes
// Emscripten headers. L6, thin, no logic. JavaScript drives: it copies file bytes to where loadNext() says,
// and pulls one step at a time. One engine per module instance (the web worker makes a module per engine).
#include <emscripten/bind.h>
#include <emscripten/heap.h>

#include <memory>

#include "bind/reply.h"

namespace {

using namespace nutshell;
using nlohmann::json;

std::unique_ptr<Engine> g_engine;

std::string version() { return text_of({{"ok", true}, {"version", NUTSHELL_VERSION}}); }

std::string create(int threads) {
  g_engine = std::make_unique<Engine>(threads, ThreadPool::Start::later);
  return text_of({{"ok", true}});
}

// Frees the engine and joins its threads: a worker whose threads are asleep in a wait is ended by browsers
// only after seconds, with all the memory of the module.
std::string destroy() {
  g_engine.reset();
  return text_of({{"ok", true}});
}

// What the heap can still grow to, so that a model that cannot fit is refused before anything is allocated.
uint64_t available_bytes() { return emscripten_get_heap_max() - emscripten_get_heap_size(); }

template <typename F>
std::string with_engine(F&& f) {
  if (!g_engine) return text_of(error_json(Status(ErrorCode::no_model, "create() was not called")));
  return reply_of(f(*g_engine));
}

template <typename F>
std::string with_json(const std::string& text, F&& f) {
  return with_arguments(text, [&](const json& arguments) {
    return with_engine([&](Engine& engine) { return f(engine, arguments); });
  });
}

std::string load_begin(std::string options) {
  return with_json(options, [](Engine& e, const json& o) { return e.load_begin(o, available_bytes()); });
}
std::string load_next() {
  return with_engine([](Engine& e) { return e.load_next(); });
}
std::string load_commit() {
  return with_engine([](Engine& e) { return e.load_commit(); });
}
std::string unload() {
  return with_engine([](Engine& e) { return e.unload(); });
}
std::string info() {
  return with_engine([](Engine& e) { return e.info(); });
}
std::string tokenize(std::string arguments) {
  return with_json(arguments, [](Engine& e, const json& a) { return e.tokenize(a); });
}
std::string detokenize(std::string arguments) {
  return with_json(arguments, [](Engine& e, const json& a) { return e.detokenize(a); });
}
std::string embed(std::string arguments) {
  return with_json(arguments, [](Engine& e, const json& a) { return e.embed(a); });
}
std::string generate_begin(std::string options) {
  return with_json(options, [](Engine& e, const json& o) { return e.generate_begin(o); });
}
std::string generate_step() {
  return with_engine([](Engine& e) { return e.generate_step(); });
}
std::string generate_end() {
  return with_engine([](Engine& e) { return e.generate_end(); });
}

}  // namespace

EMSCRIPTEN_BINDINGS(nutshell) {
  emscripten::function("version", &version);
  emscripten::function("create", &create);
  emscripten::function("destroy", &destroy);
  emscripten::function("loadBegin", &load_begin);
  emscripten::function("loadNext", &load_next);
  emscripten::function("loadCommit", &load_commit);
  emscripten::function("unload", &unload);
  emscripten::function("info", &info);
  emscripten::function("tokenize", &tokenize);
  emscripten::function("detokenize", &detokenize);
  emscripten::function("embed", &embed);
  emscripten::function("generateBegin", &generate_begin);
  emscripten::function("generateStep", &generate_step);
  emscripten::function("generateEnd", &generate_end);
}
