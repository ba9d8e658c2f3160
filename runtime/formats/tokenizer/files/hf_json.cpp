#include "runtime/formats/tokenizer/files/hf_json.h"

#include <nlohmann/json.hpp>

#include "runtime/base/input_file.h"
#include "runtime/formats/container/json_object.h"

namespace attar::hf {

Json read_json(const std::string& path) {
  const std::string text = read_file(path, kFileLimitBytes);
  check_json_depth(text, path);
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw input_error(path, "is not a JSON object");
  return json;
}

Error wrong_type(const std::string& where, const char* key, const char* expected, const Json& got) {
  return input_error(where, std::string("key ") + key + " has another type", expected,
                     printable(got.dump(-1, ' ', true), 40));
}

const Json* find_key(const Json& json, const char* key) {
  return json.contains(key) && !json[key].is_null() ? &json[key] : nullptr;
}

bool flag(const Json& json, const char* key, bool fallback, const std::string& where) {
  const Json* value = find_key(json, key);
  if (value != nullptr && !value->is_boolean()) throw wrong_type(where, key, "true or false", *value);
  return value != nullptr ? value->get<bool>() : fallback;
}

std::string text(const Json& json, const char* key, const std::string& where) {
  const Json* value = find_key(json, key);
  if (value != nullptr && !value->is_string()) throw wrong_type(where, key, "text", *value);
  return value != nullptr ? value->get<std::string>() : "";
}

Json object_part(const Json& json, const char* key, const std::string& where) {
  const Json* value = find_key(json, key);
  if (value != nullptr && !value->is_object()) throw wrong_type(where, key, "object", *value);
  return value != nullptr ? *value : Json::object();
}
Json list_part(const Json& json, const char* key, const std::string& where) {
  const Json* value = find_key(json, key);
  if (value != nullptr && !value->is_array()) throw wrong_type(where, key, "array", *value);
  return value != nullptr ? *value : Json::array();
}

std::vector<Json> steps_of(const Json& json, const char* key, const char* list, const std::string& where) {
  const Json* step = find_key(json, key);
  if (step == nullptr) return {};
  if (text(*step, "type", where) == "Sequence") return step->at(list).get<std::vector<Json>>();
  return {*step};
}

Error unknown_step(const std::string& where, const char* what, const Json& step, const std::string& expected) {
  return input_error(where,
                     std::string("the ") + what + " `" + printable(text(step, "type", where)) + "` is not supported",
                     expected, printable(step.dump(-1, ' ', true), 120));
}

}  // namespace attar::hf
