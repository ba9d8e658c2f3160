#include "recipes/schema/reference.h"

#include <nlohmann/json.hpp>

#include "distill/features/feature_kinds.h"
#include "distill/losses/loss_term.h"
#include "recipes/schema/json_schema.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

std::string joined(const Json& values) {
  std::string out;
  for (const Json& value : values)
    if (value.is_string()) out += (out.empty() ? "" : ", ") + value.get<std::string>();
  return out;
}

// A cell of a table.
std::string cell(std::string text) {
  for (size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.insert(at, "\\");
  return text;
}

// "0 <= x < 1", "x >= 1", or nothing.
std::string range_of(const Json& value) {
  std::string low, high;
  if (value.contains("minimum")) low = value["minimum"].dump() + " <= ";
  if (value.contains("exclusiveMinimum")) low = value["exclusiveMinimum"].dump() + " < ";
  if (value.contains("maximum")) high = " <= " + value["maximum"].dump();
  if (value.contains("exclusiveMaximum")) high = " < " + value["exclusiveMaximum"].dump();
  return low.empty() && high.empty() ? "" : low + "x" + high;
}

// The keys of all maps among the forms that a value may have.
Json keys_of(const Json& forms) {
  Json keys = Json::array();
  for (const Json& form : forms)
    if (form.contains("properties"))
      for (const auto& [key, _] : form["properties"].items()) keys.push_back(key);
  return keys;
}

std::string values_of(const Json& value) {
  if (value.contains("enum")) return joined(value["enum"]);
  if (value.contains("anyOf")) {
    const Json& first = value["anyOf"].front();
    if (first.contains("enum")) return joined(first["enum"]);  // a choice, behind it the same in any case
    if (first.contains("const")) return first["const"].dump() + ", or " + values_of(value["anyOf"].back());
    const Json keys = keys_of(value["anyOf"]);
    return keys.empty() ? values_of(value["anyOf"].back()) : "text, or a map: " + joined(keys);
  }
  if (const std::string range = range_of(value); !range.empty()) return range;
  const std::string type = value.contains("type") && value["type"].is_string() ? value["type"].get<std::string>() : "";
  if (type == "boolean") return "true, false";
  if (type == "integer") return "a whole number";
  if (type == "number") return "a number";
  if (type == "array") return value.contains("items") ? "a list: " + values_of(value["items"]) : "a list";
  if (type == "object") {
    const Json keys = keys_of(Json::array({value}));
    return keys.empty() ? "a map" : "a map: " + joined(keys);
  }
  return value.contains("pattern") ? "a size, such as 60MB" : "text";
}

std::string default_of(const Json& value) {
  if (!value.contains("default")) return "";
  const Json& given = value["default"];
  if (given.is_object() || given.is_array()) return given.empty() ? "" : "`" + given.dump() + "`";
  return given.is_string() ? given.get<std::string>() : given.dump();
}

std::string table_of(const Json& object) {
  std::string out = "\n| key | values | default | |\n| --- | --- | --- | --- |\n";
  for (const auto& [name, value] : object.at("properties").items())
    out += "| `" + name + "` | " + cell(values_of(value)) + " | " + cell(default_of(value)) + " | " +
           cell(value.value("description", "")) + " |\n";
  return out;
}

std::string losses_table() {
  std::string out =
      "\n### losses\nOf `distill` and `pretrain`, and as `qad_losses` of `quantize`: any of them together, each with "
      "its weight. All but cross_entropy need a teacher; a cached signal serves all of them but aligned_likelihood and "
      "uld, which are for a student whose tokenizer is not its teacher's and stand alone or beside cross_entropy. "
      "`qad_losses` takes neither of the two, and at least one that needs a teacher.\n\n| loss | |\n| --- | --- |\n";
  for (const LossKind& kind : loss_kinds()) out += std::string("| `") + kind.name + "` | " + cell(kind.help) + " |\n";
  out +=
      "\n### features\nOf `distill`, beside the losses; the teacher runs beside the student.\n\n| feature | |\n| --- | "
      "--- |\n";
  for (const FeatureKind& kind : feature_kinds())
    out += std::string("| `") + kind.name + "` | " + cell(kind.help) + " |\n";
  out += "\n### loss_settings\n\n| setting | of | values | default | |\n| --- | --- | --- | --- | --- |\n";
  for (const LossSetting& each : loss_settings()) {
    std::string of;
    for (const std::string& kind : each.of) of += (of.empty() ? "" : ", ") + kind;
    out += "| `" + each.name + "` | " + of + " | " + each.range() + " | " + Json(each.usual).dump() + " | " +
           each.help + " |\n";
  }
  return out;
}

// Of the forms that a value may have, the map with this key.
const Json& form_with(const Json& forms, const char* key) {
  for (const Json& form : forms)
    if (form.contains("properties") && form["properties"].contains(key)) return form;
  return forms.back();
}

}  // namespace

std::string recipe_reference() {
  const Json schema = Json::parse(recipe_json_schema());
  const Json& keys = schema["properties"];
  std::string out =
      "# The keys of a recipe\n\nWritten by `attar recipes reference` from the fields of the program; `attar recipes "
      "schema` has the same for editors.\nA recipe is a map of these; `teacher` and `stages` must be there.\n\n| key | "
      "|\n"
      "| --- | --- |\n";
  for (const auto& [name, value] : keys.items())
    out += "| `" + name + "` | " + cell(value.value("description", "")) + " |\n";
  const Json& made = form_with(keys["teacher"]["anyOf"], "config");
  out += "\n## teacher\nA MODEL, or one that is made here:\n" + table_of(made);
  out += "\n### teacher.config\n" + table_of(made["properties"]["config"]);
  out += "\n### teacher.pretrain\n" + table_of(made["properties"]["pretrain"]);
  out +=
      "\n## data\nEach split is a list of texts (files, folders or patterns), of maps such as `{file: a.txt, weight: "
      "0.5}`, or of what the teacher or an endpoint writes.\n" +
      table_of(keys["data"]);
  const Json& forms = keys["data"]["properties"]["train"]["items"]["anyOf"];
  out += "\n### teacher_writes\n" + table_of(form_with(forms, "teacher_writes")["properties"]["teacher_writes"]);
  out +=
      "\n### endpoint_writes\nAnswers of a model behind an OpenAI-compatible API; `url`, `model` and `prompts` must be "
      "there.\n" +
      table_of(form_with(forms, "endpoint_writes")["properties"]["endpoint_writes"]);
  out +=
      "\n## stages\nA list; each is a map with one of these keys, in the order in which they run. Any may come "
      "again.\n";
  for (const auto& [name, stage] : keys["stages"]["items"]["anyOf"].back()["properties"].items())
    out += "\n### " + name + "\n" + table_of(stage);
  return out + losses_table();
}

}  // namespace attar
