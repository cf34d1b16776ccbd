// The border between wasm and JavaScript, for the compressor, which is a module of its own. L6, thin, no
// logic. JavaScript drives: every step says which bytes it wants where, or which bytes are to be kept or
// written.
#include <emscripten/bind.h>
#include <emscripten/heap.h>

#include <memory>

#include "bind/reply.h"
#include "compress/session.h"

namespace {

using namespace nutshell;
using compress::CompressSession;
using nlohmann::json;

std::unique_ptr<CompressSession> g_session;

std::string create(int threads) {
  g_session = std::make_unique<CompressSession>(threads, ThreadPool::Start::later);
  return text_of({{"ok", true}});
}

// Frees everything and joins the threads.
std::string destroy() {
  g_session.reset();
  return text_of({{"ok", true}});
}

// What the heap can still grow to.
std::string available() {
  return text_of({{"ok", true}, {"bytes", emscripten_get_heap_max() - emscripten_get_heap_size()}});
}

template <typename F>
std::string with_session(F&& f) {
  if (!g_session) return text_of(error_json(Status(ErrorCode::no_model, "create() was not called")));
  return reply_of(f(*g_session));
}

template <typename F>
std::string with_json(const std::string& text, F&& f) {
  return with_arguments(text, [&](const json& arguments) {
    return with_session([&](CompressSession& session) { return f(session, arguments); });
  });
}

std::string open(std::string request) {
  return with_json(request, [](CompressSession& s, const json& r) { return s.open(r); });
}
std::string describe() {
  return with_session([](CompressSession& s) { return s.describe(); });
}
std::string plan(std::string request) {
  return with_json(request, [](CompressSession& s, const json& r) { return s.plan(r); });
}
std::string analyse() {
  return with_session([](CompressSession& s) { return s.analyse(); });
}
std::string sizes(std::string request) {
  return with_json(request, [](CompressSession& s, const json& r) { return s.sizes(r); });
}
std::string make(std::string request) {
  return with_json(request, [](CompressSession& s, const json& r) { return s.make(r); });
}
std::string step() {
  return with_session([](CompressSession& s) { return s.step(); });
}
std::string result() {
  return with_session([](CompressSession& s) { return s.result(); });
}

}  // namespace

EMSCRIPTEN_BINDINGS(nutshell_compress) {
  emscripten::function("create", &create);
  emscripten::function("destroy", &destroy);
  emscripten::function("available", &available);
  emscripten::function("open", &open);
  emscripten::function("describe", &describe);
  emscripten::function("plan", &plan);
  emscripten::function("analyse", &analyse);
  emscripten::function("sizes", &sizes);
  emscripten::function("make", &make);
  emscripten::function("step", &step);
  emscripten::function("result", &result);
}
