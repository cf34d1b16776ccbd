// Public options as JSON: what bind/ and tests hand over. L5. The list is options.def.
#pragma once

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "engine/loader.h"
#include "engine/session.h"

namespace nutshell {

// Unknown names are refused (a typing mistake must not be silent), wrong types and integers out of range too:
// invalid_argument with the name. Absent options keep their default.
Result<GenerateOptions> parse_generate_options(const nlohmann::json& json);
Result<LoadOptions> parse_load_options(const nlohmann::json& json);

}  // namespace nutshell
