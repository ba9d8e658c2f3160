#include "recipes/commands/common.h"

#include <nlohmann/json.hpp>

#include "recipes/commands/output.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/host/cpu_limits.h"

namespace attar {

using Json = nlohmann::ordered_json;

int thread_count(const CommandOptions& command) {
  return command.threads > 0 ? command.threads : default_threads();
}

std::vector<std::string> inputs_of(const CommandOptions& command, std::vector<std::string> more) {
  more.push_back(command.model);
  more.insert(more.end(), command.data.begin(), command.data.end());
  return more;
}

Existing existing(const CommandOptions& command) {
  return command.force ? Existing::Replace : Existing::Refuse;
}

CommandOptions checked(const CommandOptions& command, const std::vector<std::string>& more) {
  require_valid(command.text, "attar");
  CommandOptions out = command;
  out.out = checked_out(command.out, inputs_of(command, more), existing(command));
  return out;
}

ExportInfo info_of(const ModelFile& source) {
  ExportInfo info;
  info.provenance = source.provenance();
  if (!info.provenance.name.empty())
    info.provenance.base_models.insert(info.provenance.base_models.begin(), info.provenance.name);
  info.attar_version = ATTAR_VERSION;
  return info;
}

TextData text_data(const CommandOptions& command, const TokenizerData& data, const Progress& progress) {
  const Tokenizer tokenizer(data);
  DocumentTokenizer tokenize(tokenizer, command.text);
  std::vector<TokenDataset> parts{tokenize(read_all_documents(command.data))};
  const NearDuplicates found =
      drop_near_duplicates(parts, tokenizer, command.text.deduplicate, thread_count(command), progress);
  TextData text{std::move(parts[0]), tokenize.reader().chat_template(), tokenize.reader().notes(), found};
  if (found.dropped > 0) text.notes.push_back(to_words(found));
  return text;
}

void add_near_duplicates(Json& json, const TextData& text) {
  if (text.near_duplicates.threshold > 0.0)
    json["near_duplicates"] = Json::parse(near_duplicates_record(text.near_duplicates));
}

Json write_gguf_file(const std::string& out, const QuantizedModel& quantized, const TokenizerData& tokenizer,
                     const ExportInfo& info, const Progress& progress) {
  const GgufExport written = export_gguf(out, quantized, tokenizer, info, progress);
  return {{"file", out},
          {"files", written.files},
          {"bytes", written.size_bytes},
          {"architecture", written.architecture},
          {"plan", quantized.plan.name},
          {"fallbacks", quantized.plan.fallback_lines()},
          {"notes", written.notes}};
}

void note_nothing_to_resume(const std::string& stage, const std::string& steps, const Progress& progress) {
  const std::string line = "nothing to resume in " + steps + ": it starts from the beginning";
  report(progress, {.stage = stage, .unit = {}, .message = line});
}

Error holds_steps(const std::string& steps, const std::string& what) {
  return usage_error(steps, "already holds " + what + " of a run", "", "",
                     "add --resume to go on with it, or choose another -o, or delete this folder");
}

void add_note(Json& json, const std::string& note) {
  if (!note.empty()) json["notes"].push_back(note);
}

std::string document(const Json& json) {
  Json out = {{"schema_version", 1}};
  out.update(json);
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";  // names of files may be no UTF-8
}

}  // namespace attar
