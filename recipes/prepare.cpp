// The start of a run: teacher and data.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "distill/train.h"
#include "recipes/session.h"
#include "recipes/splits.h"
#include "recipes/teacher_writes.h"
#include "runtime/base/error.h"
#include "runtime/formats/text_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kTrainSplit = 1;
constexpr uint64_t kCalibrationSplit = 2;

std::string model_path(const Session& session, const std::string& model) {
  if (model.rfind("pip:", 0) == 0 || fs::exists(model)) return model;
  return recipe_relative(session.recipe, model);
}

// Documents of the plain files of a split, tokenized; other sources are left alone.
void append_files(const Session& session, const std::vector<DataSource>& sources, const Tokenizer& tokenizer,
                  TokenDataset& dataset) {
  for (const DataSource& source : sources) {
    if (source.teacher_writes) continue;
    TokenDataset part = tokenize_documents(read_documents(recipe_relative(session.recipe, source.file)), tokenizer);
    for (TokenDocument& document : part.documents) dataset.documents.push_back(std::move(document));
  }
}

// Trains the recipe's own teacher on the train split's files. Its checkpoint is a MODEL like any other.
void train_teacher(Session& session, const std::string& directory, Json& results) {
  const ModelRecipe& made = session.recipe.teacher;
  const TokenizerData data = own_tokenizer(session.recipe);
  const Tokenizer tokenizer(data);
  CausalLM model = CausalLM::random(to_config(*made.architecture, tokenizer.vocab_size()),
                                    static_cast<uint64_t>(session.recipe.seed));
  if (made.pretrain) {
    TokenDataset text;
    text.tokenizer_hash = tokenizer.hash();
    append_files(session, session.recipe.train, tokenizer, text);
    if (text.documents.empty())
      throw usage_error(session.recipe.path, "teacher.pretrain has no text", "a file in data.train");
    const TrainInputs inputs{.data = &text,
                             .checkpoint_directory = session.folder.checkpoints("0-teacher"),
                             .resume = true,
                             .seed = static_cast<uint64_t>(session.recipe.seed),
                             .threads = session.threads};
    const TrainResult trained = train(model, data, inputs, *made.pretrain, session.progress);
    results["pretrain"] = {
        {"steps", trained.steps}, {"tokens", trained.tokens}, {"final_loss", trained.history.back().loss}};
  }
  Provenance provenance;
  provenance.name = session.recipe.name + "-teacher";
  write_checkpoint(directory, model, data, provenance, {}, "{}");
}

void write_text(Session& session, const runtime::Model& model, runtime::Workspace& work,
                const std::vector<DataSource>& sources, uint64_t split, TokenDataset& dataset) {
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].teacher_writes) continue;
    const TeacherWrites& options = *sources[i].teacher_writes;
    std::vector<Document> prompts;
    if (!options.prompts.empty()) prompts = read_documents(recipe_relative(session.recipe, options.prompts));
    TokenDataset part = write_with_teacher(model, prompts, options, static_cast<uint64_t>(session.recipe.seed),
                                           split * 256 + i, work, session.progress);
    if (dataset.signal_k != 0 && part.signal_k != dataset.signal_k)
      throw usage_error(session.recipe.path, "teacher_writes of one split differ in signal_top_k");
    dataset.signal_k = part.signal_k;
    for (TokenDocument& document : part.documents) dataset.documents.push_back(std::move(document));
  }
}

bool teacher_writes_any(const std::vector<DataSource>& sources) {
  for (const DataSource& source : sources)
    if (source.teacher_writes) return true;
  return false;
}

// One split, from the run folder when it is there.
TokenDataset make_split(Session& session, const char* name, const std::vector<DataSource>& sources, uint64_t split,
                        const Tokenizer& tokenizer, const EvaluationText& evaluation, Json& results) {
  const std::string path = session.folder.file(std::string("data/") + name + ".h5");
  TokenDataset dataset;
  if (fs::exists(path)) {
    dataset = read_dataset(path, tokenizer.hash());
  } else {
    dataset.tokenizer_hash = tokenizer.hash();
    if (teacher_writes_any(sources)) {
      ThreadPool pool(session.threads);
      const runtime::Model model = runtime::Model::load(*session.teacher, {}, pool);
      runtime::Workspace work(model, pool);
      write_text(session, model, work, sources, split, dataset);
    }
    append_files(session, sources, tokenizer, dataset);
    const int64_t dropped = drop_overlapping(dataset, tokenizer, evaluation);
    if (dataset.documents.empty() && !sources.empty())
      throw input_error(std::string("data.") + name, "no document is left",
                        "text that does not repeat the evaluation text", std::to_string(dropped) + " dropped");
    write_dataset(path, dataset);
  }
  results[name] = {{"documents", dataset.documents.size()},
                   {"tokens", dataset.token_count()},
                   {"loss_tokens", dataset.loss_token_count()}};
  return dataset;
}

}  // namespace

TokenizerData own_tokenizer(const Recipe& recipe) {
  const std::string& source = recipe.teacher.tokenizer;
  if (source.empty())
    throw usage_error(recipe.path, "teacher.tokenizer is missing", "a folder with tokenizer.json, or a MODEL");
  const std::string path = recipe_relative(recipe, source);
  if (fs::is_directory(path)) return read_hf_tokenizer(path);
  return ModelFile::open(source.rfind("pip:", 0) == 0 ? source : path).tokenizer();
}

StageRecord prepare_teacher(Session& session) {
  const ModelRecipe& teacher = session.recipe.teacher;
  Json results;
  if (teacher.model.empty()) {
    const std::string directory = session.folder.finished_model("0-teacher");
    if (!fs::exists(directory)) train_teacher(session, directory, results);
    session.teacher_model = directory;
  } else {
    session.teacher_model = model_path(session, teacher.model);
  }
  session.teacher = ModelFile::open(session.teacher_model);
  results["name"] = session.teacher->provenance().name;
  results["sha256"] = session.teacher->content_hash();
  results["parameters"] = session.teacher->config().parameter_count();
  results["bytes"] = session.teacher->size_bytes();
  return {.name = "0-teacher", .results = results.dump()};
}

StageRecord prepare_data(Session& session) {
  const Tokenizer tokenizer(session.teacher->tokenizer());
  const EvaluationText evaluation(evaluation_documents(session.recipe));
  Json results = Json::object();
  session.train = make_split(session, "train", session.recipe.train, kTrainSplit, tokenizer, evaluation, results);
  session.calibration =
      make_split(session, "calibration", session.recipe.calibration, kCalibrationSplit, tokenizer, evaluation, results);
  return {.name = "0-data", .results = results.dump()};
}

}  // namespace attar
