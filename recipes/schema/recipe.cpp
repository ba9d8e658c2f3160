#include "recipes/schema/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "distill/losses/loss_term.h"
#include "quantize/calibration.h"
#include "recipes/schema/inputs.h"
#include "recipes/schema/library.h"
#include "recipes/schema/option_checks.h"
#include "recipes/schema/overrides.h"
#include "recipes/schema/recipe_checks.h"
#include "recipes/schema/yaml_reader.h"
#include "runtime/base/error.h"
#include "runtime/base/fields.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/suggestion.h"

namespace attar {
namespace {

constexpr size_t kRecipeLimitBytes = size_t{1} << 20;

template <class Options>
Stage read_stage(const YAML::Node& node, const std::string& key, YamlReader& reader) {
  Options options;
  reader.options(node, key, options);
  return options;
}

struct StageEntry {
  const char* name;
  Stage (*read)(const YAML::Node&, const std::string&, YamlReader&);
};
constexpr StageEntry kStages[] = {
    {"prune", read_stage<PruneOptions>},       {"distill", read_stage<DistillStage>},
    {"quantize", read_stage<QuantizeOptions>}, {"export", read_stage<ExportOptions>},
    {"verify", read_stage<VerifyStage>},
};

void read_stages(const YAML::Node& node, YamlReader& reader, std::vector<Stage>& stages) {
  std::vector<std::string> names;
  for (const StageEntry& entry : kStages) names.emplace_back(entry.name);
  if (!node.IsSequence()) return reader.problem(node, "stages: expected a list of stages, got " + shown(node));
  const auto read = [&](const StageEntry& entry, const YAML::Node& item, const YAML::Node& body) {
    reader.keep_place("stages." + std::to_string(stages.size()), item), reader.stand_at(item);
    stages.push_back(entry.read(body.IsNull() ? YAML::Node(YAML::NodeType::Map) : body, entry.name, reader));
  };
  for (const YAML::Node& item : node) {
    if (item.IsScalar()) {  // `- export` alone: all defaults
      const auto entry = std::find_if(std::begin(kStages), std::end(kStages),
                                      [&](const StageEntry& e) { return item.Scalar() == e.name; });
      if (entry == std::end(kStages))
        reader.problem(item, "unknown stage `" + printable(item.Scalar()) + "`" + suggestion(item.Scalar(), names));
      else
        read(*entry, item, YAML::Node());
      continue;
    }
    if (!reader.map(item, "stages", names)) continue;
    if (item.size() != 1)
      reader.problem(item, "stages: expected one stage an entry, such as `- prune: {drop_ffn: 0.2}`");
    for (const StageEntry& entry : kStages)
      if (const YAML::Node body = item[entry.name]) read(entry, item, body);
  }
}

void read_weight(const YAML::Node& node, const std::string& key, YamlReader& reader, DataSource& source) {
  reader.value(node, key + ".weight", source.weight);
  if (!(source.weight > 0.0 && source.weight <= 1000.0))
    reader.problem(node, key + ".weight = " + shown(node) + ": expected 0 < x <= 1000");
}

void read_source(const YAML::Node& item, const std::string& key, YamlReader& reader, DataSource& source) {
  const bool evaluation = key == "data.evaluation";
  std::vector<std::string> known{"file"};
  if (!evaluation) known.insert(known.end(), {"weight", "teacher_writes", "endpoint_writes"});
  if (key == "data.calibration") known.emplace_back("from_train");
  if (evaluation && item.IsMap() && (item["teacher_writes"] || item["endpoint_writes"]))
    return reader.problem(item, "data.evaluation: expected files: a teacher cannot write the text it is judged on");
  if (!reader.map(item, key, known)) return;
  if (const YAML::Node file = item["file"]) reader.value(file, key + ".file", source.file);
  if (const YAML::Node weight = item["weight"]) read_weight(weight, key, reader, source);
  if (const YAML::Node writes = item["teacher_writes"])
    reader.options(writes, key + ".teacher_writes", source.teacher_writes.emplace());
  if (const YAML::Node writes = item["endpoint_writes"])
    reader.options(writes, key + ".endpoint_writes", source.endpoint_writes.emplace());
  if (const YAML::Node tokens = item["from_train"]) {
    reader.value(tokens, key + ".from_train", source.from_train);
    if (source.from_train < 1)
      reader.problem(tokens, key + ".from_train = " + shown(tokens) + ": expected a whole number of at least 1");
  }
  const std::vector<std::string> kinds{"file", "teacher_writes", "endpoint_writes", "from_train"};
  if (std::count_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return item[kind].IsDefined(); }) != 1)
    reader.problem(item,
                   key + ": expected one of `file`" +
                       (evaluation ? "" : ", `teacher_writes`, `endpoint_writes` and in calibration `from_train`"));
  if (item["weight"] && !item["file"]) reader.problem(item["weight"], key + ".weight: expected beside a `file`");
}

void read_sources(const YAML::Node& node, const std::string& key, YamlReader& reader,
                  std::vector<DataSource>& sources) {
  if (!node.IsSequence())
    return reader.problem(
        node, key + ": expected a list of files, {teacher_writes: ...} or {endpoint_writes: ...}, got " + shown(node));
  for (const YAML::Node& item : node) {
    reader.keep_place(key + "." + std::to_string(sources.size()), item);
    DataSource& source = sources.emplace_back();
    if (item.IsScalar())
      source.file = item.Scalar();
    else
      read_source(item, key, reader, source);
  }
}

void read_data(const YAML::Node& node, YamlReader& reader, Recipe& recipe) {
  std::vector<std::string> known = field_names<DataOptions>();
  known.insert(known.end(), {"train", "calibration", "evaluation"});
  if (!reader.map(node, "data", known)) return;
  visit_fields(recipe.text, [&](auto& field, const char* name, const char*) {
    if (const YAML::Node child = node[name]) {
      reader.keep_place(std::string("data.") + name, child);
      reader.value(child, std::string("data.") + name, field);
    }
  });
  for (const FieldProblem& problem : problems_of(recipe.text))
    if (const YAML::Node child = node[problem.field])
      reader.problem(child, "data." + problem.field + " = " + shown(child) + ": expected " + problem.expected);
  if (const YAML::Node split = node["train"]) read_sources(split, "data.train", reader, recipe.train);
  if (const YAML::Node split = node["calibration"]) read_sources(split, "data.calibration", reader, recipe.calibration);
  if (const YAML::Node split = node["evaluation"]) read_sources(split, "data.evaluation", reader, recipe.evaluation);
}

void read_model(const YAML::Node& node, const std::string& key, YamlReader& reader, ModelRecipe& model) {
  reader.keep_place(key, node);
  if (node.IsScalar()) {
    model.model = node.Scalar();
    return;
  }
  if (!reader.map(node, key, {"config", "tokenizer", "pretrain"})) return;
  if (key == "student") {
    if (const YAML::Node wrong = node["pretrain"])
      reader.problem(wrong, "student.pretrain: a student learns in a `distill` stage; leave it out");
  }
  if (const YAML::Node config = node["config"])
    reader.options(config, key + ".config", model.architecture.emplace());
  else
    reader.problem(node, key + ": expected `config`, the shape of the model to train");
  if (const YAML::Node tokenizer = node["tokenizer"])
    reader.keep_place(key + ".tokenizer", tokenizer), reader.value(tokenizer, key + ".tokenizer", model.tokenizer);
  else if (key == "teacher")
    reader.problem(node, "teacher: expected `tokenizer`, a folder with tokenizer.json or a MODEL");
  if (const YAML::Node pretrain = node["pretrain"]) {
    reader.keep_place(key + ".pretrain", pretrain);
    DistillOptions options;
    options.losses = {{"cross_entropy", 1.0}};
    reader.options(pretrain, key + ".pretrain", options);
    for (const auto& [name, weight] : options.losses)
      if (const LossKind* loss = find_loss(name); loss != nullptr && loss->needs_teacher && weight != 0.0)
        reader.problem(
            pretrain["losses"],
            key + ".pretrain.losses." + name + ": needs a teacher, and there is none yet; expected cross_entropy alone",
            ProblemKind::Whole);
    if (asks_features(options))
      reader.problem(pretrain["features"], key + ".pretrain.features: need a teacher, and there is none yet",
                     ProblemKind::Whole);
    if (options.curriculum > 0.0)
      reader.problem(pretrain["curriculum"], key + ".pretrain.curriculum: goes by a teacher, and there is none yet",
                     ProblemKind::Whole);
    if (options.keep_zeros)
      reader.problem(pretrain["keep_zeros"], key + ".pretrain.keep_zeros: random weights have no zeros to keep",
                     ProblemKind::Whole);
    model.pretrain = options;
  }
}

// resolved.yaml lies elsewhere than the recipe that it was made of.
void read_paths_from(const YAML::Node& node, YamlReader& reader, Recipe& recipe) {
  std::string folder;
  reader.value(node, "paths_from", folder);
  const std::filesystem::path path(recipe.path);
  recipe.path = (path.parent_path() / folder / path.filename()).string();
}

void read_recipe(const YAML::Node& root, YamlReader& reader, Recipe& recipe) {
  if (!root.IsMap())
    return reader.problem(root, "expected a recipe, a map with `teacher` and `stages`, got " + shown(root));
  if (!reader.map(root, "", {"version", "name", "about", "paths_from", "seed", "teacher", "student", "data", "stages"}))
    return;
  if (const YAML::Node node = root["version"]) reader.value(node, "version", recipe.version);
  if (recipe.version != 1) reader.problem(root["version"], "version: expected 1, the only one this Attar knows");
  if (const YAML::Node node = root["name"]) reader.value(node, "name", recipe.name);
  if (recipe.name.empty() || recipe.name.find('/') != std::string::npos || recipe.name == "." || recipe.name == "..")
    reader.problem(root["name"], "name: expected a name without slashes, it becomes the run's folder");
  if (const YAML::Node node = root["about"]) reader.value(node, "about", recipe.about);
  if (const YAML::Node node = root["paths_from"]) read_paths_from(node, reader, recipe);
  if (const YAML::Node node = root["seed"]) reader.value(node, "seed", recipe.seed);
  if (const YAML::Node node = root["teacher"])
    read_model(node, "teacher", reader, recipe.teacher);
  else
    reader.problem(root,
                   "expected `teacher`, a MODEL: a GGUF file, a Hugging Face directory, pip:PACKAGE or hf:ORG/NAME");
  if (const YAML::Node node = root["student"]) read_model(node, "student", reader, recipe.student.emplace());
  if (const YAML::Node node = root["data"]) read_data(node, reader, recipe);
  if (const YAML::Node node = root["stages"])
    read_stages(node, reader, recipe.stages);
  else
    reader.problem(root, "expected `stages`, a list such as `- quantize: {to: IQ4_NL}`");
}

// How many tokens of calibration data the stages ask for; 0: none needs any. A quantize stage without a number of its
// own is given the least: what its preset wants depends on a shape that no recipe knows, and of a larger draw, which
// stands in the order of the train data, the stages' first tokens would be those of its first files.
int64_t calibration_tokens(const Recipe& recipe) {
  int64_t tokens = 0;
  for (const Stage& stage : recipe.stages) {
    if (const auto* prune = std::get_if<PruneOptions>(&stage); prune != nullptr && asks_the_text(*prune))
      tokens = std::max(tokens, prune->calibration_tokens);
    if (const auto* quantize = std::get_if<QuantizeOptions>(&stage); quantize != nullptr && quantize->importance)
      tokens =
          std::max(tokens, quantize->calibration_tokens > 0 ? quantize->calibration_tokens : kLeastCalibrationTokens);
  }
  return tokens;
}

struct ReadRecipe {
  Recipe recipe;
  std::vector<RecipeProblem> problems;
};

// By what some editors put in front of a line.
bool is_indented_by_tab(const std::string& text, int line) {
  std::istringstream lines(text);
  std::string at;
  for (int i = 0; i <= line; ++i) std::getline(lines, at);
  return at.find('\t') < at.find_first_not_of(" \t");
}

YAML::Node one_document(const std::string& text, const std::string& path) {
  std::vector<YAML::Node> documents;
  try {
    for (const YAML::Node& document : YAML::LoadAll(text))
      if (!document.IsNull()) documents.push_back(document);
  } catch (const YAML::Exception& error) {
    throw usage_error(path + ":" + std::to_string(error.mark.line + 1) + ":" + std::to_string(error.mark.column + 1),
                      "is not YAML: " + error.msg, "", "",
                      is_indented_by_tab(text, error.mark.line) ? "indent by spaces: YAML takes no tabs there" : "");
  }
  if (documents.size() > 1)
    throw usage_error(path, "holds several documents", "one recipe", std::to_string(documents.size()),
                      "a line --- begins another one");
  return documents.empty() ? YAML::Node() : documents[0];
}

ReadRecipe read_text(const std::string& text, const std::string& path, const std::vector<std::string>& overrides) {
  YamlReader reader;
  YAML::Node root = one_document(text, path);
  std::vector<std::pair<YAML::Node, std::string>> given_values;
  for (const std::string& assignment : overrides)
    given_values.emplace_back(apply_override(root, assignment), assignment);
  check_extent(root, path);
  for (const auto& [node, assignment] : given_values) reader.note_override(node, assignment);
  Recipe recipe;
  recipe.file = recipe.path = path;
  recipe.overrides = overrides;
  recipe.name = std::filesystem::path(path).stem().string();
  read_recipe(root, reader, recipe);
  if (const int64_t tokens = calibration_tokens(recipe);
      recipe.calibration.empty() && !recipe.train.empty() && tokens > 0)
    recipe.calibration.push_back({.from_train = tokens});
  recipe.places = reader.take_places();
  std::vector<RecipeProblem> problems = reader.take_problems();
  if (root.IsMap())
    check_recipe(recipe, [&](const std::string& key, const std::string& what) {
      problems.push_back({ProblemKind::Whole, place_of(recipe.places, key), what});
    });
  return {std::move(recipe), std::move(problems)};
}

ReadRecipe read(const std::string& given, const std::vector<std::string>& overrides) {
  const std::string path = recipe_file(given);
  return read_text(read_file(path, kRecipeLimitBytes), path, overrides);
}

// With those of files and models. Shapes are only looked at where every value is one.
std::vector<RecipeProblem> with_input_problems(ReadRecipe read, const Progress& progress) {
  const bool values = std::any_of(read.problems.begin(), read.problems.end(),
                                  [](const RecipeProblem& p) { return p.kind == ProblemKind::Value; });
  const std::vector<RecipeProblem> more =
      input_problems(read.recipe, values ? LookAt::Files : LookAt::Everything, progress);
  read.problems.insert(read.problems.end(), more.begin(), more.end());
  return read.problems;
}

Recipe without_problems(ReadRecipe found, const Progress& progress) {
  if (!found.problems.empty()) throw_problems(found.recipe.file, with_input_problems(found, progress));
  return std::move(found.recipe);
}

}  // namespace

const char* stage_name(const Stage& stage) {
  return kStages[stage.index()].name;
}

std::vector<RecipeProblem> recipe_problems(const std::string& path, const std::vector<std::string>& overrides,
                                           const Progress& progress) {
  return with_input_problems(read(path, overrides), progress);
}

Recipe parse_recipe(const std::string& path, const std::vector<std::string>& overrides, const Progress& progress) {
  return without_problems(read(path, overrides), progress);
}

Recipe parse_recipe_text(const std::string& text, const std::string& path, const std::vector<std::string>& overrides,
                         const Progress& progress) {
  return without_problems(read_text(text, path, overrides), progress);
}

}  // namespace attar
