// How every bound function answers: one JSON text, {"ok":true, ...} or {"error":{"code","message","advice"}}.
// L6.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/engine.h"

namespace nutshell {

inline std::string text_of(const nlohmann::json& reply) {
  return reply.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

inline std::string reply_of(const Result<nlohmann::json>& result) {
  if (!result.ok()) return text_of(error_json(result.status()));
  nlohmann::json reply = result.value();
  reply["ok"] = true;
  return text_of(reply);
}

// f(the arguments); invalid_argument where they are no JSON.
template <typename F>
std::string with_arguments(const std::string& text, F&& f) {
  const nlohmann::json arguments = nlohmann::json::parse(text, nullptr, false);
  if (arguments.is_discarded()) return text_of(error_json(Status(ErrorCode::invalid_argument, "not JSON")));
  return f(arguments);
}

}  // namespace nutshell
