#include "recipes/schema/json_schema.h"

#include <nlohmann/json.hpp>

#include "recipes/schema/option_checks.h"
#include "runtime/base/words/byte_size.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

// YAML leaves quotes out: a text may look like a number.
Json text_types() {
  return {"string", "number", "boolean"};
}

// "Q4_K" in any case, as a pattern.
std::string any_case(const std::vector<std::string>& choices) {
  std::string pattern;
  for (const std::string& choice : choices) {
    pattern += pattern.empty() ? "^(" : "|";
    for (const char c : choice) {
      const char lower = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      pattern += lower == c ? std::string(1, c) : std::string("[") + c + lower + "]";
    }
  }
  return pattern + ")$";
}

// A choice that looks like a number may stand without quotes.
Json choices_json(const FieldRule& rule) {
  Json choices = Json::array();
  for (const std::string& choice : rule.choices) {
    choices.push_back(choice);
    if (choice.find_first_not_of("0123456789") == std::string::npos) choices.push_back(std::stoll(choice));
  }
  if (!rule.any_case) return {{"enum", choices}};
  return {{"anyOf", {{{"enum", choices}}, {{"type", "string"}, {"pattern", any_case(rule.choices)}}}}};
}

Json text_json(const FieldRule& rule) {
  if (!rule.choices.empty()) return choices_json(rule);
  if (rule.is_size) return {{"type", "string"}, {"pattern", kSizePattern}};
  return {{"type", text_types()}};
}

Json number_json(const FieldRule& rule, const char* type) {
  Json json = {{"type", type}};
  if (rule.least) json["minimum"] = *rule.least;
  if (rule.above) json["exclusiveMinimum"] = *rule.above;
  if (rule.most) json["maximum"] = *rule.most;
  if (rule.below) json["exclusiveMaximum"] = *rule.below;
  if (rule.multiple_of > 1) json["multipleOf"] = rule.multiple_of;
  if (rule.or_zero) json = {{"anyOf", {{{"const", 0}}, json}}};
  return json;
}

Json map_json(const FieldRule& rule, const Json& value) {
  Json json = {{"type", "object"}};
  if (rule.keys.empty()) {
    json["additionalProperties"] = value;
    return json;
  }
  for (const std::string& key : rule.keys) {
    Json entry = value;
    if (counts_bytes(key)) entry = {{"anyOf", {value, {{"type", "string"}, {"pattern", kSizePattern}}}}};
    json["properties"][key] = entry;
  }
  json["additionalProperties"] = false;
  return json;
}

Json of_type(const FieldRule&, bool) {
  return {{"type", "boolean"}};
}
Json of_type(const FieldRule& rule, int64_t) {
  return number_json(rule, "integer");
}
Json of_type(const FieldRule& rule, double) {
  return number_json(rule, "number");
}
Json of_type(const FieldRule& rule, const std::string&) {
  return text_json(rule);
}
Json of_type(const FieldRule& rule, const std::vector<int64_t>&) {
  Json json = {{"type", "array"}, {"items", number_json(rule, "integer")}};
  if (rule.filled) json["minItems"] = 1;
  return json;
}
template <class T>
Json of_type(const FieldRule& rule, const std::optional<T>&) {
  return of_type(rule, T{});
}
Json of_type(const FieldRule& rule, const std::vector<std::string>&) {
  return {{"type", "array"}, {"items", text_json(rule)}};
}
Json of_type(const FieldRule& rule, const std::map<std::string, double>&) {
  return map_json(rule, number_json(rule, "number"));
}
Json of_type(const FieldRule& rule, const std::map<std::string, std::string>&) {
  return map_json(rule, text_json(rule));
}

// The default as a reader of the schema sees it; nothing for what has none.
template <class T>
void add_default(Json& json, const T& value) {
  if constexpr (!is_optional<T>::value) json["default"] = value;
}

template <class Options>
Json object_of(Options options = {}) {
  Json properties = Json::object();
  const std::vector<FieldRule> rules = rules_of(options);
  visit_fields(options, [&](auto& value, const char* name, const char* help) {
    FieldRule rule{.field = name};
    for (const FieldRule& one : rules)
      if (one.field == name) rule = one;
    Json json = of_type(rule, value);
    json["description"] = help;
    add_default(json, value);
    properties[name] = json;
  });
  return {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
}

Json described(Json json, const char* words) {
  json["description"] = words;
  return json;
}

// `- NAME: {...}`, or `- NAME` alone where defaults say enough.
void add_stage(Json& stages, Json& alone, const char* name, Json options, bool has_defaults) {
  if (has_defaults) {
    options["type"] = {"object", "null"};
    alone["enum"].push_back(name);
  }
  stages["properties"][name] = std::move(options);
}

Json stages_json() {
  Json one = {{"type", "object"}, {"minProperties", 1}, {"maxProperties", 1}, {"additionalProperties", false}};
  Json alone = {{"enum", Json::array()}};
  Json quantize = object_of<QuantizeOptions>();
  for (const char* key : {"to", "target_size", "target_bpw", "max_kl"})
    quantize["oneOf"].push_back({{"required", Json::array({key})}});
  Json prune = object_of<PruneOptions>();
  for (const char* key : {"drop_layers", "drop_ffn", "drop_heads", "keep_vocab"})  // something to prune
    prune["anyOf"].push_back({{"required", Json::array({key})}, {"properties", {{key, {{"exclusiveMinimum", 0}}}}}});
  prune["anyOf"].push_back({{"required", Json::array({"keep_layers"})}});
  add_stage(one, alone, "prune", prune, false);
  add_stage(one, alone, "distill", object_of<DistillStage>(), true);
  add_stage(one, alone, "quantize", quantize, false);
  add_stage(one, alone, "export", object_of<ExportOptions>(), true);
  add_stage(one, alone, "verify", object_of<VerifyStage>(), true);
  return {
      {"type", "array"}, {"items", {{"anyOf", {alone, one}}}}, {"description", "in this order; any may come again"}};
}

Json sources_json(const char* words, bool written, bool from_train) {
  const Json weight = {{"type", "number"},
                       {"exclusiveMinimum", 0},
                       {"maximum", 1000},
                       {"default", 1},
                       {"description", "how often: 2 takes the documents twice, 0.25 a quarter of them"}};
  Json file = {{"type", "object"},
               {"required", Json::array({"file"})},
               {"additionalProperties", false},
               {"properties", {{"file", {{"type", text_types()}}}}}};
  if (written) file["properties"]["weight"] = weight;
  Json forms = {{{"type", text_types()}}, file};
  const auto add = [&](const char* key, const Json& value) {
    forms.push_back({{"type", "object"},
                     {"required", Json::array({key})},
                     {"additionalProperties", false},
                     {"properties", {{key, value}}}});
  };
  if (written) add("teacher_writes", object_of<TeacherWrites>());
  if (written) {
    Json endpoint = object_of<EndpointWrites>();
    endpoint["required"] = {"url", "model", "prompts"};
    add("endpoint_writes", endpoint);
  }
  if (from_train)
    add("from_train", {{"type", "integer"},
                       {"minimum", 1},
                       {"description", "documents of data.train, drawn until they hold so many tokens"}});
  return {{"type", "array"}, {"items", {{"anyOf", forms}}}, {"description", words}};
}

Json data_json() {
  Json json = object_of<DataOptions>();
  json["properties"]["train"] =
      sources_json("what is learned: text and chat files, or what the teacher or an endpoint writes", true, false);
  json["properties"]["calibration"] =
      sources_json("what inputs and errors are measured on; without it, part of train", true, true);
  json["properties"]["evaluation"] = sources_json("what verify judges on: files", false, false);
  return json;
}

Json model_json(bool is_teacher) {
  DistillOptions pretrain;
  pretrain.losses = {{"cross_entropy", 1.0}};
  Json made = {{"type", "object"}, {"required", Json::array({"config"})}, {"additionalProperties", false}};
  made["properties"]["config"] = object_of<Architecture>();
  made["properties"]["tokenizer"] = described(
      {{"type", text_types()}},
      is_teacher ? "a folder with tokenizer.json, or a MODEL to take the tokenizer from"
                 : "a folder with tokenizer.json, or a MODEL to take the tokenizer from; the teacher's without it, and "
                   "another asks for losses across tokenizers");
  if (is_teacher) {
    made["properties"]["pretrain"] = object_of(pretrain);
    made["required"].push_back("tokenizer");
  }
  return {
      {"anyOf",
       {described({{"type", text_types()}}, "MODEL: a GGUF file, a Hugging Face directory, pip:PACKAGE or hf:ORG/NAME"),
        made}}};
}

}  // namespace

std::string recipe_json_schema() {
  const Json text = {{"type", text_types()}};
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "Attar recipe"},
                 {"type", "object"},
                 {"required", {"teacher", "stages"}},
                 {"additionalProperties", false}};
  Json& keys = schema["properties"];
  keys["version"] = {{"const", 1}, {"description", "of this form of recipes"}};
  keys["name"] =
      described({{"type", text_types()}, {"pattern", "^(?!\\.{1,2}$)[^/]*$"}}, "of the run's folder, runs/NAME");
  keys["about"] = described(text, "one line, for lists");
  keys["paths_from"] = described(text, "the folder at which relative paths start; without it the recipe's own");
  keys["seed"] = {{"type", "integer"}, {"default", 0}, {"description", "of all that is drawn at random"}};
  keys["teacher"] = described(model_json(true), "the model to make small");
  keys["student"] = described(model_json(false), "what the stages start from; without it the teacher's copy");
  keys["data"] = described(data_json(), "texts, by what they are for");
  keys["stages"] = stages_json();
  return schema.dump(1) + "\n";
}

}  // namespace attar
