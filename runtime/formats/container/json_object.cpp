#include "runtime/formats/container/json_object.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/words/json_depth.h"

namespace attar {

constexpr int kMostDepth = 256;

void check_json_depth(std::string_view text, const std::string& where) {
  if (json_is_deeper_than(text, kMostDepth))
    throw input_error(where, "JSON nests too deeply", "at most " + std::to_string(kMostDepth) + " levels");
}

void check_json_object(const std::string& text, const std::string& where) {
  using Json = nlohmann::json;
  check_json_depth(text, where);
  std::vector<std::set<std::string>> keys;
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start)
      keys.emplace_back();
    else if (event == Json::parse_event_t::object_end)
      keys.pop_back();
    else if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  if (!Json::parse(text, watch, false).is_object())
    throw input_error(where, "is not a JSON object", "", "", "the file is damaged; fetch it again");
  if (!twice.empty()) throw input_error(where, "key " + printable(twice) + " stands twice");
}

}  // namespace attar
