#include "recipes/data/data_origin.h"

#include <map>
#include <nlohmann/json.hpp>

#include "runtime/base/sha256.h"

namespace attar {
namespace {

using Json = nlohmann::json;

template <class T>
std::string text_of(const T& value) {
  return Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Of what is not as it is by default: an option that a later version adds makes no text another.
template <class Options>
std::string changed_options(Options options) {
  std::map<std::string, std::string> usual;
  Options defaults;
  visit_fields(defaults, [&](auto& value, const char* name, const char*) { usual[name] = text_of(value); });
  std::string changed;
  visit_fields(options, [&](auto& value, const char* name, const char*) {
    if (const std::string given = text_of(value); given != usual[name])
      changed += std::string(";") + name + "=" + given;
  });
  return changed;
}

// What an endpoint is asked for; how is no part of what it answers.
EndpointWrites asked_for(EndpointWrites source) {
  const EndpointWrites usual;
  source.concurrency = usual.concurrency, source.requests_per_minute = usual.requests_per_minute;
  source.timeout_s = usual.timeout_s, source.key = usual.key, source.cache = usual.cache;
  return source;
}

// The contents of the files that a source names, which `inputs` has read.
std::string contents_of(const Recipe& recipe, const RecipeInputs& inputs, const DataSource& source) {
  std::string contents;
  if (source.texts().empty()) return contents;
  for (const RecipeText& text : recipe_texts(recipe, source.texts()))
    if (const auto found = inputs.sha256.find(text.name); found != inputs.sha256.end()) contents += ";" + found->second;
  return contents;
}

}  // namespace

DatasetOrigin origin_of_split(const Recipe& recipe, const RecipeInputs& inputs, const SplitMaking& split) {
  DatasetOrigin origin;
  Sha256 hash;
  hash.add("split " + std::to_string(split.number) + ";seed " + std::to_string(recipe.seed));
  hash.add(changed_options(recipe.text) + ";template " + sha256(inputs.chat_template));
  hash.add(";behind " + split.text_before_hash);
  for (const DataSource& source : split.sources) {
    hash.add(";weight " + text_of(source.weight) + ";from_train " + text_of(source.from_train));
    if (source.teacher_writes) hash.add(";teacher" + changed_options(*source.teacher_writes));
    if (source.endpoint_writes) hash.add(";endpoint" + changed_options(asked_for(*source.endpoint_writes)));
    hash.add(contents_of(recipe, inputs, source));
    if (source.teacher_writes) origin.teacher_hash = split.teacher_hash;
  }
  for (const DataSource& source : recipe.evaluation) hash.add(";apart from" + contents_of(recipe, inputs, source));
  origin.made_by = hash.hex();
  return origin;
}

}  // namespace attar
