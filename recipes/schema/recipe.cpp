#include "recipes/schema/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "distill/loss.h"
#include "recipes/schema/inputs.h"
#include "recipes/schema/option_checks.h"
#include "recipes/schema/overrides.h"
#include "recipes/schema/recipe_checks.h"
#include "recipes/schema/suggestion.h"
#include "runtime/base/error.h"
#include "runtime/base/fields.h"
#include "runtime/base/input_file.h"

namespace attar {
namespace {

constexpr size_t kRecipeLimitBytes = size_t{1} << 20;
constexpr int kDepthLimit = 16;
constexpr int64_t kNodeLimit = 100000;  // an alias counts as all it stands for: a few lines can stand for billions

std::string scalar_text(const YAML::Node& node) {
  if (node.IsScalar()) return printable(node.Scalar(), 40);
  return node.IsMap() ? "a map" : node.IsSequence() ? "a list" : "nothing";
}

template <class Number>
bool parse_whole(const std::string& text, Number& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

// Walks the document, fills the structs and collects every problem with its place.
class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  // Values given on the command line have no place in the file; they are named by their own text.
  void note_override(const YAML::Node& node, std::string text) { overridden_.emplace_back(node, std::move(text)); }

  void problem(const YAML::Node& node, const std::string& text) { problems_.push_back(place(node) + text); }

  // Checks that `node` is a map whose keys are among `known`, each once.
  bool map(const YAML::Node& node, const std::string& key, const std::vector<std::string>& known) {
    if (!node.IsMap()) {
      problem(node, (key.empty() ? "" : key + ": ") + "expected a map, got " + scalar_text(node));
      return false;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const std::string full = key.empty() ? name : key + "." + name;
      if (!seen.insert(name).second) problem(entry.first, "duplicate key `" + printable(full) + "`");
      if (!known.empty() && std::find(known.begin(), known.end(), name) == known.end())
        problem(entry.first, "unknown key `" + printable(full) + "`" + suggestion(name, known));
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
    if (!node.IsScalar() || !parse_whole(node.Scalar(), out)) wrong(node, key, "a whole number");
  }
  void value(const YAML::Node& node, const std::string& key, double& out) {
    if (!node.IsScalar() || !parse_whole(node.Scalar(), out)) wrong(node, key, "a number");
  }
  void value(const YAML::Node& node, const std::string& key, bool& out) {
    if (node.IsScalar() && (node.Scalar() == "true" || node.Scalar() == "false"))
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
  template <class T>
  void value(const YAML::Node& node, const std::string& key, std::map<std::string, T>& out) {
    out.clear();
    if (!map(node, key, {})) return;
    for (const auto& entry : node) value(entry.second, key + "." + entry.first.Scalar(), out[entry.first.Scalar()]);
  }

  // An options struct: its listed fields, then what values they may have.
  template <class Options>
  void options(const YAML::Node& node, const std::string& key, Options& out) {
    if (!map(node, key, field_names<Options>())) return;
    const size_t before = problems_.size();
    visit_fields(out, [&](auto& field, const char* name, const char*) {
      if (const YAML::Node child = node[name]) value(child, key + "." + name, field);
    });
    if (problems_.size() != before) return;  // a wrong type has been said already
    for (const FieldProblem& found : problems_of(out)) {
      const YAML::Node child = value_of(node, found.field);
      const std::string shown = child && child.IsScalar() ? " = " + scalar_text(child) : "";
      problem(child ? child : node, key + "." + found.field + shown + ": expected " + found.expected);
    }
  }

  void throw_if_any() const {
    if (problems_.empty()) return;
    std::string text;
    for (const std::string& line : problems_) text += (text.empty() ? "" : "\n") + line;
    throw Error(ErrorKind::Usage, {.what = text});
  }

 private:
  void wrong(const YAML::Node& node, const std::string& key, const char* expected) {
    problem(node, key + ": expected " + expected + ", got " + scalar_text(node));
  }

  // Where "ffn" or, of a map, "losses.forward_kl" stands.
  static YAML::Node value_of(const YAML::Node& node, const std::string& field) {
    const size_t dot = field.find('.');
    const YAML::Node child = node[field.substr(0, dot)];
    if (dot == std::string::npos || !child || !child.IsMap()) return child;
    const YAML::Node entry = child[field.substr(dot + 1)];
    return entry ? entry : child;
  }

  std::string place(const YAML::Node& node) const {
    for (const auto& [given, text] : overridden_)
      if (given.is(node)) return "'" + text + "': ";
    const YAML::Mark mark = node.Mark();
    if (mark.line < 0) return file_ + ": ";
    return file_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) + ": ";
  }

  std::string file_;
  std::vector<std::string> problems_;
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
  if (!node.IsNull()) reader.options(node, key, options);
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
  for (const YAML::Node& item : node) {
    if (item.IsScalar()) {  // `- export` alone: all defaults
      const auto entry = std::find_if(std::begin(kStages), std::end(kStages),
                                      [&](const StageEntry& e) { return item.Scalar() == e.name; });
      if (entry == std::end(kStages))
        reader.problem(item, "unknown stage `" + printable(item.Scalar()) + "`" + suggestion(item.Scalar(), names));
      else
        stages.push_back(entry->read(YAML::Node(YAML::NodeType::Map), entry->name, reader));
      continue;
    }
    if (!reader.map(item, "stages", names)) continue;
    if (item.size() != 1) reader.problem(item, "stages: expected one stage an entry, such as `- prune: {ffn: 0.2}`");
    for (const StageEntry& entry : kStages)
      if (const YAML::Node body = item[entry.name]) stages.push_back(entry.read(body, entry.name, reader));
  }
}

void read_weight(const YAML::Node& node, const std::string& key, Reader& reader, DataSource& source) {
  reader.value(node, key + ".weight", source.weight);
  if (!(source.weight > 0.0 && source.weight <= 1000.0))
    reader.problem(node, key + ".weight = " + scalar_text(node) + ": expected 0 < x <= 1000");
}

void read_sources(const YAML::Node& node, const std::string& key, Reader& reader, std::vector<DataSource>& sources) {
  if (!node.IsSequence())
    return reader.problem(node, key + ": expected a list of files or {teacher_writes: ...}, got " + scalar_text(node));
  for (const YAML::Node& item : node) {
    DataSource source;
    if (item.IsScalar()) {
      source.file = item.Scalar();
    } else if (reader.map(item, key, {"teacher_writes", "file", "weight"})) {
      if (const YAML::Node file = item["file"]) reader.value(file, key + ".file", source.file);
      if (const YAML::Node weight = item["weight"]) read_weight(weight, key, reader, source);
      if (const YAML::Node writes = item["teacher_writes"])
        reader.options(writes, key + ".teacher_writes", source.teacher_writes.emplace());
      if (source.file.empty() == !source.teacher_writes.has_value())
        reader.problem(item, key + ": expected one of `file` and `teacher_writes`");
      if (item["weight"] && (source.teacher_writes || key == "data.evaluation"))
        reader.problem(item["weight"], key + ".weight: expected beside a `file` of train or calibration alone");
    }
    sources.push_back(std::move(source));
  }
}

void read_data(const YAML::Node& node, Reader& reader, Recipe& recipe) {
  std::vector<std::string> known = field_names<TextDataOptions>();
  known.insert(known.end(), {"train", "calibration", "evaluation"});
  if (!reader.map(node, "data", known)) return;
  visit_fields(recipe.text, [&](auto& field, const char* name, const char*) {
    if (const YAML::Node child = node[name]) reader.value(child, std::string("data.") + name, field);
  });
  if (const YAML::Node split = node["train"]) read_sources(split, "data.train", reader, recipe.train);
  if (const YAML::Node split = node["calibration"]) read_sources(split, "data.calibration", reader, recipe.calibration);
  if (const YAML::Node split = node["evaluation"]) read_sources(split, "data.evaluation", reader, recipe.evaluation);
  for (const DataSource& source : recipe.evaluation)
    if (source.teacher_writes)
      reader.problem(node["evaluation"],
                     "data.evaluation: expected files: a teacher cannot write the text it is judged on");
}

void read_model(const YAML::Node& node, const std::string& key, Reader& reader, ModelRecipe& model) {
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
    reader.value(tokenizer, key + ".tokenizer", model.tokenizer);
  else if (key == "teacher")
    reader.problem(node, "teacher: expected `tokenizer`, a folder with tokenizer.json or a MODEL");
  if (const YAML::Node pretrain = node["pretrain"]) {
    DistillOptions options;
    options.losses = {{"cross_entropy", 1.0}};
    reader.options(pretrain, key + ".pretrain", options);
    for (const auto& [name, weight] : options.losses)
      if (const LossEntry* loss = find_loss(name); loss != nullptr && loss->needs_teacher && weight != 0.0)
        reader.problem(pretrain["losses"],
                       key + ".pretrain.losses." + name +
                           ": needs a teacher, and there is none yet; expected cross_entropy alone");
    model.pretrain = options;
  }
}

void read_recipe(const YAML::Node& root, Reader& reader, Recipe& recipe) {
  if (!root.IsMap())
    return reader.problem(root, "expected a recipe, a map with `teacher` and `stages`, got " + scalar_text(root));
  if (!reader.map(root, "", {"version", "name", "seed", "teacher", "student", "data", "stages"})) return;
  if (const YAML::Node node = root["version"]) reader.value(node, "version", recipe.version);
  if (recipe.version != 1) reader.problem(root["version"], "version: expected 1, the only one this Attar knows");
  if (const YAML::Node node = root["name"]) reader.value(node, "name", recipe.name);
  if (recipe.name.find('/') != std::string::npos || recipe.name == "." || recipe.name == "..")
    reader.problem(root["name"], "name: expected a name without slashes, it becomes the run's folder");
  if (const YAML::Node node = root["seed"]) reader.value(node, "seed", recipe.seed);
  if (const YAML::Node node = root["teacher"])
    read_model(node, "teacher", reader, recipe.teacher);
  else
    reader.problem(root, "expected `teacher`, a MODEL: a GGUF file, a Hugging Face directory or pip:PACKAGE");
  if (const YAML::Node node = root["student"]) read_model(node, "student", reader, recipe.student.emplace());
  if (const YAML::Node node = root["data"]) read_data(node, reader, recipe);
  if (const YAML::Node node = root["stages"])
    read_stages(node, reader, recipe.stages);
  else
    reader.problem(root, "expected `stages`, a list such as `- quantize: {to: IQ4_NL}`");
}

}  // namespace

const char* stage_name(const Stage& stage) {
  return kStages[stage.index()].name;
}

ModelConfig to_config(const Architecture& architecture, int64_t vocab_size) {
  const FamilyTraits* family = find_family(architecture.family);
  if (family == nullptr)
    throw usage_error("config.family", "is unknown", family_names(), printable(architecture.family));
  ModelConfig config;
  config.family = family->family;
  config.vocab_size = vocab_size;
  config.width = architecture.width;
  config.context_length = architecture.context;
  config.tied_embeddings = architecture.tied_embeddings;
  config.norm_epsilon = architecture.norm_epsilon;
  config.rope_theta = architecture.rope_theta;
  config.sliding_window = architecture.sliding_window;
  for (int64_t i = 0; i < architecture.layers; ++i) {
    const bool sliding = config.family == Family::Gemma3 && architecture.sliding_window > 0 && (i + 1) % 6 != 0;
    config.layers.push_back({sliding ? LayerKind::SlidingAttention : LayerKind::FullAttention, architecture.heads,
                             architecture.kv_heads, architecture.head_dim, architecture.ffn});
  }
  check_config(config, "config");
  return config;
}

Recipe parse_recipe(const std::string& path, const std::vector<std::string>& overrides, const std::string& seen_from) {
  Reader reader(path);
  YAML::Node root;
  try {
    root = YAML::Load(read_file(path, kRecipeLimitBytes));
  } catch (const YAML::Exception& error) {
    throw usage_error(path + ":" + std::to_string(error.mark.line + 1) + ":" + std::to_string(error.mark.column + 1),
                      "is not YAML: " + error.msg);
  }
  for (const std::string& assignment : overrides) reader.note_override(apply_override(root, assignment), assignment);
  int64_t n_nodes = 0;
  check_extent(root, 0, n_nodes, path);
  Recipe recipe;
  recipe.path = seen_from.empty() ? path : seen_from;
  recipe.overrides = overrides;
  recipe.name = std::filesystem::path(path).stem().string();
  read_recipe(root, reader, recipe);
  reader.throw_if_any();
  check_recipe(root, recipe, [&](const YAML::Node& node, const std::string& what) { reader.problem(node, what); });
  reader.throw_if_any();
  return recipe;
}

}  // namespace attar
