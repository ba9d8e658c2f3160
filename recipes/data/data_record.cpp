#include "recipes/data/data_record.h"

#include <nlohmann/json.hpp>

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

Json source_names(const std::vector<DataSource>& sources) {
  Json names = Json::array();
  for (const DataSource& source : sources) {
    if (const auto& endpoint = source.endpoint_writes) {
      names.push_back("written by " + endpoint->model + " at " + endpoint->url + ": answers to " + endpoint->prompts);
      continue;
    }
    if (!source.teacher_writes) {
      names.push_back(source.from_train > 0 ? "drawn from data.train" : source.file);
      continue;
    }
    const TeacherWrites& writes = *source.teacher_writes;
    const std::string what = writes.prompt == "none" ? "free text" : "answers";
    names.push_back("written by the teacher: " + what + (writes.prompts.empty() ? "" : " to " + writes.prompts));
  }
  return names;
}

}  // namespace

std::string split_record(const std::vector<DataSource>& sources, const TokenDataset& dataset, const Splits& splits) {
  Json record = {{"sources", source_names(sources)},
                 {"documents", dataset.documents.size()},
                 {"tokens", dataset.token_count()},
                 {"loss_tokens", dataset.loss_token_count()},
                 {"dropped", splits.in_evaluation + splits.in_train},
                 {"dropped_in_evaluation", splits.in_evaluation},
                 {"dropped_in_train", splits.in_train}};
  if (splits.near_duplicates.threshold > 0.0)
    record["near_duplicates"] = Json::parse(near_duplicates_record(splits.near_duplicates));
  for (const EndpointRecord& endpoint : splits.endpoints)
    record["endpoints"].push_back(Json::parse(endpoint_record(endpoint)));
  if (!dataset.signal_numerics.empty()) record["signal_numerics"] = dataset.signal_numerics;
  return record.dump();
}

std::string evaluation_record(const Recipe& recipe, const Tokenizer& tokenizer, const TextDataOptions& options) {
  if (recipe.evaluation.empty()) return "null";
  const TokenDataset text = tokenize_documents(evaluation_documents(recipe), tokenizer, options);
  return Json({{"sources", source_names(recipe.evaluation)},
               {"documents", text.documents.size()},
               {"tokens", text.token_count()},
               {"loss_tokens", text.loss_token_count()}})
      .dump();
}

}  // namespace attar
