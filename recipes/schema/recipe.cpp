#include "recipes/schema/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>

#include "distill/loss.h"
#include "recipes/schema/inputs.h"
#include "recipes/schema/library.h"
#include "recipes/schema/option_checks.h"
#include "recipes/schema/overrides.h"
#include "recipes/schema/recipe_checks.h"
#include "runtime/base/error.h"
#include "runtime/base/fields.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/base/words/suggestion.h"

namespace attar {
namespace {

constexpr size_t kRecipeLimitBytes = size_t{1} << 20;
constexpr int kDepthLimit = 16;
constexpr int64_t kNodeLimit = 100000;  // an alias counts as all it stands for: a few lines can stand for billions

std::string scalar_text(const YAML::Node& node) {
  if (node.IsScalar()) return printable(node.Scalar(), 40);
  return node.IsMap() ? "a map" : node.IsSequence() ? "a list" : "nothing";
}

// A number or a truth in quotes is text.
bool is_quoted(const YAML::Node& node) {
  return node.Tag() == "!";
}

bool parse_number(const YAML::Node& node, double& value) {
  if (!node.IsScalar() || is_quoted(node)) return false;
  const std::string& text = node.Scalar();
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

// "100000", or "1e5".
bool parse_whole(const YAML::Node& node, int64_t& value) {
  if (!node.IsScalar() || is_quoted(node)) return false;
  const std::string& text = node.Scalar();
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size()) return true;
  double number = 0.0;
  if (!parse_number(node, number) || number != std::floor(number) || std::abs(number) > 0x1p53) return false;
  value = static_cast<int64_t>(number);
  return true;
}

// Walks the document, fills the structs and collects every problem with its place.
class Reader {
 public:
  // Values given on the command line have no place in the file; they are named by their own text.
  void note_override(const YAML::Node& node, const std::string& text) {
    overridden_.emplace_back(node, text);
    if (node.IsMap())
      for (const auto& entry : node) note_override(entry.second, text);
    else if (node.IsSequence())
      for (const YAML::Node& item : node) note_override(item, text);
  }

  void problem(const YAML::Node& node, const std::string& text, ProblemKind kind = ProblemKind::Value) {
    problems_.push_back({kind, place(node), text});
  }
  std::vector<RecipeProblem> take_problems() { return std::move(problems_); }

  // Of what a null stands for.
  void stand_at(const YAML::Node& node) { here_ = place(node); }

  // What later checks find at `key` is said at the place of `node`.
  void keep_place(const std::string& key, const YAML::Node& node) { places_[key] = place(node); }
  RecipePlaces take_places() { return std::move(places_); }

  // Checks that `node` is a map whose keys are among `known`, each once.
  bool map(const YAML::Node& node, const std::string& key, const std::vector<std::string>& known,
           std::span<const RenamedField> renamed = {}) {
    if (!node.IsMap()) {
      problem(node, (key.empty() ? "" : key + ": ") + "expected a map, got " + scalar_text(node));
      return false;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const std::string full = key.empty() ? name : key + "." + name;
      const YAML::Node at = is_override(entry.second) ? entry.second : entry.first;
      if (!seen.insert(name).second) problem(entry.first, "duplicate key `" + printable(full) + "`");
      if (!known.empty() && std::find(known.begin(), known.end(), name) == known.end())
        problem(at, "unknown key `" + printable(full) + "`" + suggestion(name, known, renamed));
    }
    return true;
  }

  void value(const YAML::Node& node, const std::string& key, std::string& out) {
    if (node.IsScalar())
      out = node.Scalar();
    else
      wrong(node, key, "text");
  }
  void value(const YAML::Node& node, const std::string& key, int64_t& out) {
    if (!parse_whole(node, out)) wrong(node, key, "a whole number");
  }
  void value(const YAML::Node& node, const std::string& key, double& out) {
    if (!parse_number(node, out)) wrong(node, key, "a number");
  }
  void value(const YAML::Node& node, const std::string& key, bool& out) {
    if (node.IsScalar() && !is_quoted(node) && (node.Scalar() == "true" || node.Scalar() == "false"))
      out = node.Scalar() == "true";
    else
      wrong(node, key, "true or false");
  }
  template <class T>
  void value(const YAML::Node& node, const std::string& key, std::optional<T>& out) {
    value(node, key, out.emplace());
  }
  void value(const YAML::Node& node, const std::string& key, std::vector<std::string>& out) {
    out.clear();
    if (!node.IsSequence()) return wrong(node, key, "a list");
    for (const YAML::Node& item : node) value(item, key, out.emplace_back());
  }
  void value(const YAML::Node& node, const std::string& key, std::map<std::string, double>& out) {
    out.clear();
    if (!map(node, key, {})) return;
    for (const auto& entry : node) {
      const std::string name = entry.first.Scalar();
      double& number = out[name];
      const bool size = counts_bytes(name);
      if (!parse_number(entry.second, number) &&
          !(size && entry.second.IsScalar() && parse_amount(name, entry.second.Scalar(), number)))
        wrong(entry.second, key + "." + printable(name), size ? "a number or a size such as 60MB" : "a number");
    }
  }
  void value(const YAML::Node& node, const std::string& key, std::map<std::string, std::string>& out) {
    out.clear();
    if (!map(node, key, {})) return;
    for (const auto& entry : node) value(entry.second, key + "." + entry.first.Scalar(), out[entry.first.Scalar()]);
  }

  // An options struct: its listed fields, then what values they may have.
  template <class Options>
  void options(const YAML::Node& node, const std::string& key, Options& out) {
    if (!map(node, key, field_names<Options>(), renamed_fields(out))) return;
    const size_t before = problems_.size();
    visit_fields(out, [&](auto& field, const char* name, const char*) {
      if (const YAML::Node child = node[name]) value(child, key + "." + name, field);
    });
    if (problems_.size() != before) return;  // a wrong type has been said already
    for (const FieldProblem& found : problems_of(out)) {
      const YAML::Node child = value_of(node, found.field);
      const std::string shown = child && child.IsScalar() ? " = " + scalar_text(child) : "";
      problem(child ? child : node, key + "." + found.field + shown + ": expected " + found.expected,
              found.across ? ProblemKind::Whole : ProblemKind::Value);
    }
  }

 private:
  void wrong(const YAML::Node& node, const std::string& key, const char* expected) {
    const bool quoted = node.IsScalar() && is_quoted(node);
    problem(node, key + ": expected " + expected + ", got " + scalar_text(node) + (quoted ? " in quotes" : ""));
  }

  // Where "drop_ffn" or, of a map, "losses.forward_kl" stands.
  static YAML::Node value_of(const YAML::Node& node, const std::string& field) {
    const size_t dot = field.find('.');
    const YAML::Node child = node[field.substr(0, dot)];
    if (dot == std::string::npos || !child || !child.IsMap()) return child;
    const YAML::Node entry = child[field.substr(dot + 1)];
    return entry ? entry : child;
  }

  bool is_override(const YAML::Node& node) const {
    return std::any_of(overridden_.begin(), overridden_.end(), [&](const auto& entry) { return entry.first.is(node); });
  }

  RecipePlace place(const YAML::Node& node) const {
    for (const auto& [given, text] : overridden_)
      if (given.is(node)) return {.given = text};
    const YAML::Mark mark = node.Mark();
    if (mark.line < 0) return here_;
    return {mark.line + 1, mark.column + 1};
  }

  std::vector<RecipeProblem> problems_;
  RecipePlaces places_;
  RecipePlace here_;
  std::vector<std::pair<YAML::Node, std::string>> overridden_;
};

// `n_nodes` counts those seen so far.
void check_extent(const YAML::Node& node, int depth, int64_t& n_nodes, const std::string& file) {
  if (depth > kDepthLimit)
    throw usage_error(file, "is nested too deeply", "at most " + std::to_string(kDepthLimit) + " levels");
  if (++n_nodes > kNodeLimit) throw usage_error(file, "holds too many values", "at most " + std::to_string(kNodeLimit));
  if (node.IsMap())
    for (const auto& entry : node) check_extent(entry.second, depth + 1, n_nodes, file);
  else if (node.IsSequence())
    for (const YAML::Node& item : node) check_extent(item, depth + 1, n_nodes, file);
}

template <class Options>
Stage read_stage(const YAML::Node& node, const std::string& key, Reader& reader) {
  Options options;
  reader.options(node, key, options);
  return options;
}

struct StageEntry {
  const char* name;
  Stage (*read)(const YAML::Node&, const std::string&, Reader&);
};
constexpr StageEntry kStages[] = {
    {"prune", read_stage<PruneOptions>},       {"distill", read_stage<DistillOptions>},
    {"quantize", read_stage<QuantizeOptions>}, {"export", read_stage<ExportOptions>},
    {"verify", read_stage<VerifyStage>},
};

void read_stages(const YAML::Node& node, Reader& reader, std::vector<Stage>& stages) {
  std::vector<std::string> names;
  for (const StageEntry& entry : kStages) names.emplace_back(entry.name);
  if (!node.IsSequence()) return reader.problem(node, "stages: expected a list of stages, got " + scalar_text(node));
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

void read_weight(const YAML::Node& node, const std::string& key, Reader& reader, DataSource& source) {
  reader.value(node, key + ".weight", source.weight);
  if (!(source.weight > 0.0 && source.weight <= 1000.0))
    reader.problem(node, key + ".weight = " + scalar_text(node) + ": expected 0 < x <= 1000");
}

void read_source(const YAML::Node& item, const std::string& key, Reader& reader, DataSource& source) {
  const bool evaluation = key == "data.evaluation";
  std::vector<std::string> known{"file"};
  if (!evaluation) known.insert(known.end(), {"weight", "teacher_writes"});
  if (key == "data.calibration") known.emplace_back("from_train");
  if (evaluation && item.IsMap() && item["teacher_writes"])
    return reader.problem(item, "data.evaluation: expected files: a teacher cannot write the text it is judged on");
  if (!reader.map(item, key, known)) return;
  if (const YAML::Node file = item["file"]) reader.value(file, key + ".file", source.file);
  if (const YAML::Node weight = item["weight"]) read_weight(weight, key, reader, source);
  if (const YAML::Node writes = item["teacher_writes"])
    reader.options(writes, key + ".teacher_writes", source.teacher_writes.emplace());
  if (const YAML::Node tokens = item["from_train"]) {
    reader.value(tokens, key + ".from_train", source.from_train);
    if (source.from_train < 1)
      reader.problem(tokens, key + ".from_train = " + scalar_text(tokens) + ": expected a whole number of at least 1");
  }
  if (int{item["file"].IsDefined()} + int{item["teacher_writes"].IsDefined()} + int{item["from_train"].IsDefined()} !=
      1)
    reader.problem(item, key + ": expected one of `file`" +
                             (evaluation ? "" : ", `teacher_writes` and in calibration `from_train`"));
  if (item["weight"] && !item["file"]) reader.problem(item["weight"], key + ".weight: expected beside a `file`");
}

void read_sources(const YAML::Node& node, const std::string& key, Reader& reader, std::vector<DataSource>& sources) {
  if (!node.IsSequence())
    return reader.problem(node, key + ": expected a list of files or {teacher_writes: ...}, got " + scalar_text(node));
  for (const YAML::Node& item : node) {
    reader.keep_place(key + "." + std::to_string(sources.size()), item);
    DataSource& source = sources.emplace_back();
    if (item.IsScalar())
      source.file = item.Scalar();
    else
      read_source(item, key, reader, source);
  }
}

void read_data(const YAML::Node& node, Reader& reader, Recipe& recipe) {
  std::vector<std::string> known = field_names<TextDataOptions>();
  known.insert(known.end(), {"train", "calibration", "evaluation"});
  if (!reader.map(node, "data", known)) return;
  visit_fields(recipe.text, [&](auto& field, const char* name, const char*) {
    if (const YAML::Node child = node[name]) {
      reader.keep_place(std::string("data.") + name, child);
      reader.value(child, std::string("data.") + name, field);
    }
  });
  if (const YAML::Node split = node["train"]) read_sources(split, "data.train", reader, recipe.train);
  if (const YAML::Node split = node["calibration"]) read_sources(split, "data.calibration", reader, recipe.calibration);
  if (const YAML::Node split = node["evaluation"]) read_sources(split, "data.evaluation", reader, recipe.evaluation);
}

void read_model(const YAML::Node& node, const std::string& key, Reader& reader, ModelRecipe& model) {
  reader.keep_place(key, node);
  if (node.IsScalar()) {
    model.model = node.Scalar();
    return;
  }
  if (!reader.map(node, key, {"config", "tokenizer", "pretrain"})) return;
  if (key == "student") {
    if (const YAML::Node wrong = node["tokenizer"])
      reader.problem(wrong, "student.tokenizer: a student that is made here has its teacher's tokenizer; leave it out");
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
      if (const LossEntry* loss = find_loss(name); loss != nullptr && loss->needs_teacher && weight != 0.0)
        reader.problem(
            pretrain["losses"],
            key + ".pretrain.losses." + name + ": needs a teacher, and there is none yet; expected cross_entropy alone",
            ProblemKind::Whole);
    model.pretrain = options;
  }
}

// resolved.yaml lies elsewhere than the recipe that it was made of.
void read_paths_from(const YAML::Node& node, Reader& reader, Recipe& recipe) {
  std::string folder;
  reader.value(node, "paths_from", folder);
  const std::filesystem::path path(recipe.path);
  recipe.path = (path.parent_path() / folder / path.filename()).string();
}

void read_recipe(const YAML::Node& root, Reader& reader, Recipe& recipe) {
  if (!root.IsMap())
    return reader.problem(root, "expected a recipe, a map with `teacher` and `stages`, got " + scalar_text(root));
  if (!reader.map(root, "", {"version", "name", "about", "paths_from", "seed", "teacher", "student", "data", "stages"}))
    return;
  if (const YAML::Node node = root["version"]) reader.value(node, "version", recipe.version);
  if (recipe.version != 1) reader.problem(root["version"], "version: expected 1, the only one this Attar knows");
  if (const YAML::Node node = root["name"]) reader.value(node, "name", recipe.name);
  if (recipe.name.find('/') != std::string::npos || recipe.name == "." || recipe.name == "..")
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

// How many tokens of calibration data the stages ask for; 0: none needs any.
int64_t calibration_tokens(const Recipe& recipe) {
  int64_t tokens = 0;
  for (const Stage& stage : recipe.stages) {
    if (const auto* prune = std::get_if<PruneOptions>(&stage)) tokens = std::max(tokens, prune->calibration_tokens);
    if (const auto* quantize = std::get_if<QuantizeOptions>(&stage); quantize != nullptr && quantize->importance)
      tokens = std::max(tokens, quantize->calibration_tokens);
  }
  return tokens;
}

struct ReadRecipe {
  Recipe recipe;
  std::vector<RecipeProblem> problems;
};

ReadRecipe read_text(const std::string& text, const std::string& path, const std::vector<std::string>& overrides) {
  Reader reader;
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    throw usage_error(path + ":" + std::to_string(error.mark.line + 1) + ":" + std::to_string(error.mark.column + 1),
                      "is not YAML: " + error.msg);
  }
  std::vector<std::pair<YAML::Node, std::string>> given_values;
  for (const std::string& assignment : overrides)
    given_values.emplace_back(apply_override(root, assignment), assignment);
  int64_t n_nodes = 0;
  check_extent(root, 0, n_nodes, path);
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
std::vector<RecipeProblem> with_input_problems(ReadRecipe read) {
  const bool values = std::any_of(read.problems.begin(), read.problems.end(),
                                  [](const RecipeProblem& p) { return p.kind == ProblemKind::Value; });
  const std::vector<RecipeProblem> more = input_problems(read.recipe, values ? LookAt::Files : LookAt::Everything);
  read.problems.insert(read.problems.end(), more.begin(), more.end());
  return read.problems;
}

Recipe without_problems(ReadRecipe found) {
  if (!found.problems.empty()) throw_problems(found.recipe.file, with_input_problems(found));
  return std::move(found.recipe);
}

}  // namespace

const char* stage_name(const Stage& stage) {
  return kStages[stage.index()].name;
}

std::vector<RecipeProblem> recipe_problems(const std::string& path, const std::vector<std::string>& overrides) {
  return with_input_problems(read(path, overrides));
}

Recipe parse_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  return without_problems(read(path, overrides));
}

Recipe parse_recipe_text(const std::string& text, const std::string& path, const std::vector<std::string>& overrides) {
  return without_problems(read_text(text, path, overrides));
}

}  // namespace attar
