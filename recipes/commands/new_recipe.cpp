#include "recipes/commands/new_recipe.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "recipes/hub/hub_model.h"
#include "recipes/schema/library.h"
#include "recipes/schema/recipe.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/formats/model_file.h"
#include "runtime/formats/text_paths.h"
#include "runtime/formats/tokenizer/unicode.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kContext = 512;  // tokens of a window to judge on
constexpr size_t kJudged = 10;     // every tenth file

std::vector<fs::path> text_files(const std::vector<std::string>& given) {
  std::vector<fs::path> files;
  for (const std::string& path : text_paths(given)) {
    if (path == kStandardInput)
      throw usage_error("attar recipes new",
                        "a recipe reads its texts each time it runs, and standard input comes once",
                        "files, folders or patterns");
    files.emplace_back(path);
  }
  return files;
}

// A text as YAML has it, in quotes where it needs them.
std::string scalar(const std::string& text) {
  if (valid_utf8_prefix(text) < text.size())
    throw input_error(printable(text), "is a name that no recipe can hold", "UTF-8", "", "give it another name");
  const bool plain = !text.empty() && text != "null" && text.back() != ':' && text[0] != '-' && text[0] != ':' &&
                     std::all_of(text.begin(), text.end(), [](const unsigned char c) {
                       return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '/' || c == '-' || c == ':';
                     });
  return plain ? text : nlohmann::json(text).dump();
}

// A path as it is seen from the recipe.
std::string seen_from(const fs::path& folder, const fs::path& path) {
  return fs::proximate(fs::absolute(path), fs::absolute(folder)).string();
}

std::string model_scalar(const std::string& model, const fs::path& folder) {
  return fs::exists(model) ? scalar(seen_from(folder, model)) : scalar(model);
}

std::string list(const std::vector<fs::path>& files, const fs::path& folder) {
  std::string text;
  for (const fs::path& file : files) text += "    - " + scalar(seen_from(folder, file)) + "\n";
  return text;
}

// What the YAML servers of editors find the schema by: words at each key, and what is wrong underlined.
std::string editors_line(const fs::path& folder) {
  const std::string schema = schema_file();
  return schema.empty() ? "" : "# yaml-language-server: $schema=" + seen_from(folder, schema) + "\n";
}

struct Texts {
  std::vector<fs::path> train{}, evaluation{};
};

Texts split(const NewRecipe& options) {
  Texts texts{.train = text_files(options.data)};
  if (!options.evaluation.empty()) {
    texts.evaluation = text_files(options.evaluation);
    return texts;
  }
  if (texts.train.size() < 2)
    throw usage_error("attar recipes new", "one file is both what is learned and what is judged on",
                      "--evaluation FILE with other text, or --data with several files");
  const std::vector<fs::path> all = std::move(texts.train);
  texts.train.clear();
  for (size_t i = 0; i < all.size(); ++i)
    (i % kJudged == std::min(kJudged, all.size()) - 1 ? texts.evaluation : texts.train).push_back(all[i]);
  return texts;
}

std::string recipe_text(const NewRecipe& options, const std::string& out, const std::string& name,
                        const Progress& progress) {
  const fs::path folder = fs::absolute(out).parent_path();
  const Texts texts = split(options);
  const ModelFile teacher = ModelFile::open(options.teacher, hub_source(progress));
  const int64_t context = std::min(kContext, teacher.config().context_length);
  const std::string target = options.to.empty() ? "target_size: " + scalar(options.size) : "to: " + scalar(options.to);
  const std::string learned = options.distill ? ", preset: learned, qad_tokens: 200000" : "";
  const std::string gate = options.to.empty() ? "gates: {bytes: " + scalar(options.size) + "}" : "gates: {}";
  return editors_line(folder) + "# attar run " + out +
         "    (with --dry-run: what it would take)\n"
         "#\n"
         "# Every key and what it means: attar recipes reference.\n"
         "version: 1\n"
         "name: " +
         scalar(name) + "\nabout: " + scalar(options.teacher + " made small for " + name) +
         "\nseed: 7\n"
         "teacher: " +
         model_scalar(options.teacher, folder) +
         "  # a GGUF file, a Hugging Face directory, pip:PACKAGE or hf:ORG/NAME\n"
         "data:  # paths start at this file's folder\n"
         "  train:  # your texts; documents that repeat the evaluation text are dropped\n" +
         list(texts.train, folder) +
         "  # calibration: [...]  # what rounding errors are weighed by; without it, part of train\n"
         "  evaluation:  # judged on, never learned from\n" +
         list(texts.evaluation, folder) +
         "stages:  # in this order\n"
         "  # Fewer weights, then healing: worth it where rounding alone would lose more.\n"
         "  # - prune: {drop_ffn: 0.15, keep_vocab: 0}\n"
         "  # - distill: {tokens: 500000, learning_rate: 3.0e-4}\n"
         "  - quantize: {" +
         target + learned + "}" +
         (options.distill ? "\n" : "  # preset: learned lets it learn from its teacher: better, and slow\n") +
         "  - export: {formats: [gguf]}  # hf too: a Hugging Face directory\n"
         "  - verify: {context: " +
         std::to_string(context) + ", " + gate +
         "}  # more gates: kl, top1, ppl_ratio; tasks: [items.jsonl] with accuracy_ratio, agreement\n";
}

}  // namespace

std::string write_new_recipe(const NewRecipe& options, const Progress& progress) {
  if (options.teacher.empty()) throw usage_error("attar recipes new", "needs a teacher", "--teacher MODEL");
  if (options.data.empty()) throw usage_error("attar recipes new", "needs your texts", "--data FILES or a folder");
  if (options.size.empty() == options.to.empty())
    throw usage_error("attar recipes new", "needs one target", "--size 60MB, or --to TYPE");
  if (!options.size.empty()) parse_size(options.size, "--size");
  const std::string stem = options.name.empty() ? "recipe" : options.name;
  const std::string out = options.out.empty() ? stem + ".yaml" : options.out;
  if (fs::exists(out))
    throw usage_error(out, "is there already", "", "", "choose another place with --out, or remove it");
  const std::string name = options.name.empty() ? fs::path(out).stem().string() : options.name;
  const std::string text = recipe_text(options, out, name, progress);
  if (const fs::path folder = fs::path(out).parent_path(); !folder.empty()) fs::create_directories(folder);
  write_file_atomically(out, text);
  if (const std::vector<RecipeProblem> problems = recipe_problems(out, {}, progress); !problems.empty()) {
    fs::remove(out);
    throw_problems(out, problems);
  }
  return out;
}

}  // namespace attar
