#include "base/result.h"

namespace nutshell {
namespace {

struct CodeText {
  std::string_view name, message, advice;
};

constexpr CodeText kTexts[] = {
    {"ok", "", ""},
#define X(code, message, advice) {#code, message, advice},
#include "base/error_codes.def"
#undef X
};

}  // namespace

std::string_view error_name(ErrorCode code) { return kTexts[static_cast<int>(code)].name; }
std::string_view error_message(ErrorCode code) { return kTexts[static_cast<int>(code)].message; }
std::string_view error_advice(ErrorCode code) { return kTexts[static_cast<int>(code)].advice; }
int error_code_count() { return static_cast<int>(sizeof(kTexts) / sizeof(kTexts[0])); }

}  // namespace nutshell
