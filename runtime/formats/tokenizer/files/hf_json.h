// Typed reads of the JSON files of a Hugging Face directory; what is of another type is named with its file and key.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/base/error.h"

namespace attar::hf {

using Json = nlohmann::json;  // not ordered_json, whose look-ups are linear: a vocabulary has 262144 keys

inline constexpr size_t kFileLimitBytes = size_t{256} << 20;
inline constexpr const char* kMoreTemplates = "additional_chat_templates";  // folder of NAME.jinja, as transformers 5
inline constexpr const char* kRolesKey = "attar_token_roles";  // in tokenizer_config.json: role -> token's text

Json read_json(const std::string& path);
Error wrong_type(const std::string& where, const char* key, const char* expected, const Json& got);

// nullptr when the key is absent or null.
const Json* find_key(const Json& json, const char* key);
bool flag(const Json& json, const char* key, bool fallback, const std::string& where);
std::string text(const Json& json, const char* key, const std::string& where);  // "" when absent
// A part that may be absent, and then is empty.
Json object_part(const Json& json, const char* key, const std::string& where);
Json list_part(const Json& json, const char* key, const std::string& where);

// The steps of a normalizer, pre-tokenizer or post-processor, Sequence or single.
std::vector<Json> steps_of(const Json& json, const char* key, const char* list, const std::string& where);
Error unknown_step(const std::string& where, const char* what, const Json& step, const std::string& expected);

}  // namespace attar::hf
