// The start of a run: teacher and data.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "compress/dataset/dataset_checks.h"
#include "compress/dataset/dataset_file.h"
#include "compress/dataset/signal_store.h"
#include "compress/kept/text_hash.h"
#include "distill/train.h"
#include "recipes/data/data_origin.h"
#include "recipes/data/data_record.h"
#include "recipes/data/kept_documents.h"
#include "recipes/data/splits.h"
#include "recipes/data/teacher_signal.h"
#include "recipes/data/teacher_writes.h"
#include "recipes/hub/hub_model.h"
#include "recipes/run/run_state.h"
#include "recipes/run/training_record.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/text_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t kTrainSplit = 1;
constexpr uint64_t kCalibrationSplit = 2;

void append(TokenDataset part, TokenDataset& dataset) {
  for (TokenDocument& document : part.documents) dataset.documents.push_back(std::move(document));
}

TextDataOptions text_options(const Recipe& recipe) {
  TextDataOptions options = recipe.text;
  options.chat_template = recipe_template(recipe);
  return options;
}

// `written` and the plain files of a split, tokenized, without what other splits hold and without near-duplicates;
// those are dropped before a weight repeats documents.
TokenDataset with_files(const RunState& state, TokenDataset written, const std::vector<DataSource>& sources,
                        uint64_t split, const Tokenizer& tokenizer, Splits& splits) {
  std::vector<TokenDataset> parts{std::move(written)};
  std::vector<size_t> of{0};  // the source of each part
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].file.empty()) continue;
    parts.push_back(
        tokenize_documents(recipe_documents(state.recipe, sources[i].file), tokenizer, text_options(state.recipe)));
    drop_overlapping(parts.back(), tokenizer, splits);
    of.push_back(i);
  }
  splits.near_duplicates =
      drop_near_duplicates(parts, tokenizer, state.recipe.text.deduplicate, state.threads, state.progress);
  TokenDataset dataset = std::move(parts[0]);
  for (size_t p = 1; p < parts.size(); ++p)
    append(weighted(std::move(parts[p]), sources[of[p]].weight, static_cast<uint64_t>(state.recipe.seed),
                    split * 256 + of[p]),
           dataset);
  return dataset;
}

// Trains the recipe's own teacher on the train split's files; -> what the report says.
Json pretrain(RunState& state, CausalLM& model, const Tokenizer& tokenizer) {
  Splits splits{.evaluation = runs_of(evaluation_documents(state.recipe))};
  const TokenDataset text =
      with_files(state, dataset_of(tokenizer), state.recipe.train, kTrainSplit, tokenizer, splits);
  if (text.documents.empty())
    throw usage_error(state.recipe.path, "teacher.pretrain has no text",
                      "a file in data.train that does not repeat the evaluation text");
  const TrainInputs inputs{.data = &text,
                           .checkpoint_directory = state.folder.checkpoints("0-teacher"),
                           .resume = true,
                           .seed = static_cast<uint64_t>(state.recipe.seed),
                           .threads = state.threads,
                           .ranks = state.options.ranks,
                           .stage = "pretrain",
                           .on_step = step_recorder(state.folder, "0-teacher")};
  const TrainResult trained =
      train(model, state.inputs.own_tokenizer, inputs, *state.recipe.teacher.pretrain, state.progress);
  Json figures = Json::parse(training_results(trained));
  figures["dropped"] = splits.in_evaluation;
  if (splits.near_duplicates.threshold > 0.0)
    figures["near_duplicates"] = Json::parse(near_duplicates_record(splits.near_duplicates));
  figures["curve"] = Json::parse(training_curve(trained));
  return figures;
}

// The checkpoint is a MODEL like any other. The figures lie in its state, so that a run that is killed before the stage
// is recorded still has them.
void make_teacher(RunState& state, const std::string& directory) {
  const Tokenizer tokenizer(state.inputs.own_tokenizer);
  CausalLM model = CausalLM::random(state.inputs.teacher_config, static_cast<uint64_t>(state.recipe.seed));
  Json figures = Json::object();
  if (state.recipe.teacher.pretrain) figures["pretrain"] = pretrain(state, model, tokenizer);
  write_checkpoint(directory, model, state.inputs.own_tokenizer, own_provenance(state.recipe), {}, figures.dump());
}

void write_text(RunState& state, const runtime::Model& model, runtime::Workspace& work,
                const std::vector<DataSource>& sources, uint64_t split, const std::string& path,
                TokenDataset& dataset) {
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].teacher_writes) continue;
    const TeacherWrites& options = *sources[i].teacher_writes;
    TeacherPrompts prompts{.documents = {}, .chat_template = recipe_template(state.recipe)};
    if (!options.prompts.empty()) prompts.documents = recipe_documents(state.recipe, options.prompts);
    TokenDataset part =
        write_with_teacher(model, prompts, options, static_cast<uint64_t>(state.recipe.seed), split * 256 + i, work,
                           state.progress, {path + "-" + std::to_string(i), dataset.origin});
    if (dataset.signal_k != 0 && part.signal_k != dataset.signal_k)
      throw usage_error(state.recipe.path, "teacher_writes of one split differ in signal_top_k");
    dataset.signal_k = part.signal_k;
    dataset.signal_numerics = part.signal_numerics;
    append(std::move(part), dataset);
  }
}

// What endpoints answer. Their answers lie in a cache of their own, where a broken run and the next one find them.
void ask_endpoints(RunState& state, const std::vector<DataSource>& sources, const Tokenizer& tokenizer, Splits& splits,
                   TokenDataset& dataset) {
  for (const DataSource& source : sources) {
    if (!source.endpoint_writes) continue;
    const EndpointWrites& options = *source.endpoint_writes;
    const TeacherPrompts prompts{.documents = recipe_documents(state.recipe, options.prompts),
                                 .chat_template = recipe_template(state.recipe)};
    const std::string cache = options.cache.empty() ? "" : recipe_relative(state.recipe, options.cache);
    TokenDataset part = write_with_endpoint(tokenizer, prompts, options, state.recipe.seed, cache,
                                            splits.endpoints.emplace_back(), state.progress);
    dataset.signal_k = std::max(dataset.signal_k, part.signal_k);  // a recipe has one for all that give any
    append(std::move(part), dataset);
  }
}

// The numerics of the signal that the teacher of a split writes; "" where it writes none.
std::string numerics_of_signal(const std::vector<DataSource>& sources) {
  for (const DataSource& source : sources)
    if (source.teacher_writes && source.signal_k() > 0) return source.teacher_writes->numerics;
  return {};
}

// What the teacher of a split writes with; nothing when it does not. A recipe has one for all of a split.
std::optional<std::string> numerics_of_writing(const std::vector<DataSource>& sources) {
  for (const DataSource& source : sources)
    if (source.teacher_writes) return source.teacher_writes->numerics;
  return std::nullopt;
}

// What was dropped for a split that is there.
void read_dropped(const std::string& path, Splits& splits) {
  try {
    const Json dropped = Json::parse(read_file(path));
    splits.in_evaluation = dropped.at("in_evaluation"), splits.in_train = dropped.at("in_train");
    splits.near_duplicates = near_duplicates_of(dropped.value("near_duplicates", Json::object()).dump());
    splits.endpoints.clear();
    for (const Json& one : dropped.value("endpoints", Json::array()))
      splits.endpoints.push_back(endpoint_record_of(one.dump()));
  } catch (const Json::exception&) {
    throw input_error(path, "is damaged", "", "", "delete it and the .h5 beside it: both are made anew");
  }
}

// The split whose file is there; its signal is left in it.
TokenDataset split_on_disk(const RunState& state, const std::string& path, const Tokenizer& tokenizer) {
  TokenDataset split = open_dataset(path + ".h5", tokenizer.hash(), state.teacher->config().vocab_size);
  split.bos = dataset_of(tokenizer).bos;
  return split;
}

// Another run's split, or another teacher's, may lie in its place: its name and its tokenizer say nothing of that.
void require_made_here(const TokenDataset& kept, const DatasetOrigin& origin, const std::vector<DataSource>& sources,
                       const std::string& path) {
  TokenDataset wanted = kept.without_documents();
  wanted.origin = origin;
  wanted.origin.text_hash = text_hash(kept);
  if (kept.signal_k > 0) wanted.signal_numerics = numerics_of_signal(sources);
  require_made_alike(kept, wanted, path, "delete it and run again with --resume: it is made anew");
}

// One split, from the run folder when it is there; what was dropped for it lies beside it.
TokenDataset make_split(RunState& state, const char* name, const std::vector<DataSource>& sources, uint64_t split,
                        const Tokenizer& tokenizer, Splits& splits) {
  const std::string path = state.folder.file(std::string("data/") + name);
  const std::optional<std::string> numerics = numerics_of_writing(sources);
  const DatasetOrigin origin =
      origin_of_split(state.recipe, state.inputs, {sources, split, state.teacher_hash, text_hash(state.train)});
  if (fs::exists(path + ".h5")) {
    read_dropped(path + ".dropped.json", splits);
    TokenDataset kept = split_on_disk(state, path, tokenizer);
    require_made_here(kept, origin, sources, path + ".h5");
    return kept;
  }
  TokenDataset dataset = dataset_of(tokenizer);
  dataset.origin = origin;
  splits.in_evaluation = splits.in_train = 0;
  splits.endpoints.clear();
  if (numerics) {
    ThreadPool pool(state.threads);
    const runtime::LoadOptions options{.numerics = numerics_of(*numerics, "teacher_writes.numerics")};
    const runtime::Model model = runtime::Model::load(*state.teacher, options, pool);
    runtime::Workspace work(model, pool);
    write_text(state, model, work, sources, split, path, dataset);
  }
  ask_endpoints(state, sources, tokenizer, splits, dataset);
  drop_overlapping(dataset, tokenizer, splits);
  dataset = with_files(state, std::move(dataset), sources, split, tokenizer, splits);
  for (size_t i = 0; i < sources.size(); ++i)  // of the training text, which has lost what other splits hold
    if (sources[i].from_train > 0)
      append(
          drawn_tokens(state.train, sources[i].from_train, static_cast<uint64_t>(state.recipe.seed), split * 256 + i),
          dataset);
  if (dataset.documents.empty() && !sources.empty())
    throw input_error(std::string("data.") + name, "no document is left", "text that does not repeat another split",
                      std::to_string(splits.in_evaluation) + " that share 13 words with the evaluation text, " +
                          std::to_string(splits.in_train) + " with data.train");
  Json dropped = {{"in_evaluation", splits.in_evaluation}, {"in_train", splits.in_train}};
  if (splits.near_duplicates.threshold > 0.0)
    dropped["near_duplicates"] = Json::parse(near_duplicates_record(splits.near_duplicates));
  for (const EndpointRecord& one : splits.endpoints) dropped["endpoints"].push_back(Json::parse(endpoint_record(one)));
  write_file_atomically(path + ".dropped.json", dropped.dump() + "\n");
  dataset.origin.text_hash = text_hash(dataset);
  write_dataset(path + ".h5", dataset);
  for (size_t i = 0; i < sources.size(); ++i) remove_kept_documents(path + "-" + std::to_string(i));
  return split_on_disk(state, path, tokenizer);
}

std::string dropped_words(int64_t documents) {
  return std::to_string(documents) + (documents == 1 ? " document" : " documents") +
         " dropped that share 13 words in a row with ";
}

void describe_dropped(const std::string& name, const Splits& splits, StageRecord& record) {
  for (const auto& [count, other] :
       {std::pair(splits.in_evaluation, "the evaluation text"), std::pair(splits.in_train, "data.train")})
    if (count > 0) record.notes.push_back("data." + name + ": " + dropped_words(count) + other);
  for (const EndpointRecord& endpoint : splits.endpoints)
    for (const std::string& note : notes_of(endpoint)) record.notes.push_back("data." + name + ": " + note);
  if (splits.near_duplicates.dropped > 0)
    record.notes.push_back("data." + name + ": " + to_words(splits.near_duplicates));
}

}  // namespace

StageRecord prepare_teacher(RunState& state) {
  const ModelRecipe& teacher = state.recipe.teacher;
  StageRecord record{.name = "0-teacher"};
  Json results = Json::object();
  if (state.inputs.teacher) {
    const std::string named = recipe_model(state.recipe, teacher.model);
    state.teacher_model = resolve_model_path(named, hub_source(state.progress));  // for a program without a network
    if (is_on_hub(named)) results["hub"] = named;
    state.teacher = state.inputs.teacher;
  } else {
    state.teacher_model = state.folder.finished_model("0-teacher");
    if (!fs::exists(state.teacher_model)) make_teacher(state, state.teacher_model);
    state.teacher = ModelFile::open(state.teacher_model);
    results = Json::parse(read_file(state.teacher_model + "/state.json"));
    if (const int64_t dropped = teacher.pretrain ? results.at("pretrain").at("dropped").get<int64_t>() : 0; dropped > 0)
      record.notes.push_back("teacher.pretrain: " + dropped_words(dropped) + "the evaluation text");
    if (teacher.pretrain)
      for (const std::string& note : training_notes(results.at("pretrain").dump()))
        record.notes.push_back("teacher.pretrain: " + note);
  }
  record.notes.insert(record.notes.end(), state.inputs.notes.begin(), state.inputs.notes.end());
  const Provenance& provenance = state.teacher->provenance();
  results["model"] = teacher.model;
  results["name"] = provenance.name;
  results["license"] = provenance.license;
  results["license_link"] = provenance.license_link;
  results["base_models"] = provenance.base_models;
  state.teacher_hash = state.teacher->content_hash();
  results["sha256"] = state.teacher_hash;
  results["parameters"] = state.teacher->config().parameter_count();
  results["bytes"] = state.teacher->size_bytes();
  record.results = results.dump();
  return record;
}

StageRecord prepare_data(RunState& state) {
  const Tokenizer tokenizer(state.teacher->tokenizer());
  StageRecord record{.name = "0-data"};
  Json results = Json::object();
  Splits splits{.evaluation = runs_of(evaluation_documents(state.recipe))};
  state.train = make_split(state, "train", state.recipe.train, kTrainSplit, tokenizer, splits);
  results["train"] = Json::parse(split_record(state.recipe.train, state.train, splits));
  describe_dropped("train", splits, record);
  if (!state.recipe.calibration.empty()) splits.train = runs_of_learned_text(state.train, tokenizer);
  state.calibration = make_split(state, "calibration", state.recipe.calibration, kCalibrationSplit, tokenizer, splits);
  results["calibration"] = Json::parse(split_record(state.recipe.calibration, state.calibration, splits));
  describe_dropped("calibration", splits, record);
  for (const DataSource& source : state.recipe.calibration)
    if (source.from_train > 0)
      record.notes.push_back("data.calibration: documents of data.train, drawn until they hold " +
                             std::to_string(source.from_train) + " tokens");
  results["evaluation"] = Json::parse(evaluation_record(state.recipe, tokenizer, text_options(state.recipe)));
  record.results = results.dump();
  return record;
}

}  // namespace attar
