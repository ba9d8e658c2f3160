#include "recipes/commands/commands.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "compress/shards.h"
#include "distill/alignment/aligned_dataset.h"
#include "distill/pass/device.h"
#include "distill/signal_source.h"
#include "distill/training_state.h"
#include "export/export.h"
#include "prune/kept_cuts.h"
#include "prune/vocabulary.h"
#include "recipes/arms/arms.h"
#include "recipes/commands/common.h"
#include "recipes/commands/output.h"
#include "recipes/data/splits.h"
#include "recipes/data/student_writes.h"
#include "recipes/data/teacher_signal.h"
#include "recipes/hub/hub_model.h"
#include "recipes/run/stage_records.h"
#include "recipes/run/training_record.h"
#include "recipes/schema/option_checks.h"
#include "runtime/base/error.h"
#include "runtime/base/host/cpu.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/base/words/byte_size.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/shared_vocabulary.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// A GGUF in one type or preset, for prune, distill and export. "": F16.
QuantizeOptions plain_type(const std::string& to) {
  QuantizeOptions plain;
  plain.to = to.empty() ? "F16" : to;
  plain.importance = false;
  require_valid(plain, "--to");
  return plain;
}

// Before the work, not after it.
void check_type(const CommandOptions& command) {
  plain_type(command.to);
  if (!command.to.empty() && !is_gguf(command.out))
    throw usage_error("--to", "names the tensor type of a GGUF, and OUT is a folder", "-o FILE.gguf",
                      printable(command.to));
}

// A plan of one type, without importance. `target`: of a GGUF, which a Hugging Face directory has no need of.
QuantizePlan plain_plan(const CommandOptions& command, const ModelConfig& config, const PlanTarget& target = {}) {
  return plan_quantization(config, plain_type(command.to), target);
}

// A changed model to where it should go.
Json write_model(const CommandOptions& command, const CausalLM& model, const TokenizerData& tokenizer,
                 const ExportInfo& info, const Progress& progress) {
  if (!is_gguf(command.out)) {
    Json json = {{"directory", command.out}, {"notes", Json::array()}};
    if (model.config.uniform()) {
      export_hf(command.out, model, tokenizer, info, "float32", progress);
    } else {
      write_checkpoint(command.out, model, tokenizer, info.provenance, {}, "{}");
      add_note(json,
               "layers differ in width, which transformers cannot hold: Attar alone reads this folder; a GGUF "
               "is for others too");
    }
    add_note(json, kv_note(model.config));
    return json;
  }
  const QuantizePlan plan = plain_plan(command, model.config, gguf_plan_target(model.config, tokenizer, info));
  const QuantizedModel quantized = quantize(model, plan, {}, thread_count(command), progress);
  return write_gguf_file(command.out, quantized, tokenizer, info, progress);
}

void check_target(const CommandOptions& command, const ExportTarget& target) {
  const bool gguf = target.format == "gguf";
  const bool codes = target.format == "compressed-tensors";
  if (!gguf && !codes && target.format != "hf")
    throw usage_error("--format", "is unknown", "gguf, hf or compressed-tensors", printable(target.format));
  if (gguf != is_gguf(command.out))
    throw usage_error("-o", "does not fit the format", gguf ? "a file ending in .gguf" : "a folder",
                      printable(command.out));
  if ((gguf || codes) && (target.dequantized || !target.dtype.empty()))
    throw usage_error(target.dequantized ? "--dequantized" : "--dtype", "is for a Hugging Face directory",
                      "--format hf", "", "--to says the tensor type of a GGUF");
  if (!gguf && !target.split_size.empty())
    throw usage_error("--split-size", "is for GGUF", "--format gguf", printable(target.split_size));
  if (!gguf && !codes && !command.to.empty() && !target.dequantized)
    throw usage_error("--to", "names the tensor type of a GGUF", "--format gguf", printable(command.to),
                      "add --dequantized to write the values that its codes stand for");
}

void add_kv_note(const ModelConfig& config, ExportInfo& info) {
  if (const std::string note = kv_note(config); !note.empty()) info.notes.push_back(note);
}

// A Hugging Face directory of integers: the codes of a GGUF, or those of --to.
Json write_compressed_tensors(const CommandOptions& command, const ModelFile& source, ExportInfo info,
                              const Progress& progress) {
  if (command.to.empty() && source.layout() != Layout::Gguf)
    throw usage_error("--format compressed-tensors", "finds no codes: MODEL holds plain numbers",
                      "--to Q4_0 or Q8_0, or a GGUF of attar quantize");
  QuantizedModel model;
  if (command.to.empty()) {
    model = stored_codes(source);
  } else {
    const QuantizePlan plan = plain_plan(command, source.config());
    model = quantize(source, plan, {}, thread_count(command), progress);
    info.notes = model.plan.fallback_lines();
    if (const std::string note = requantization_note(source, plan); !note.empty()) info.notes.push_back(note);
  }
  add_kv_note(model.config, info);
  export_compressed_tensors(command.out, model, source.tokenizer(), info, progress);
  return {{"directory", command.out}, {"notes", info.notes}};
}

// A Hugging Face directory of the model's own values, or of those that codes of --to leave.
Json write_hf(const CommandOptions& command, const ExportTarget& target, const ModelFile& source, ExportInfo info,
              const Progress& progress) {
  if (target.dequantized && command.to.empty() && source.layout() != Layout::Gguf)
    throw usage_error("--dequantized", "finds no codes: MODEL holds plain numbers", "--to TYPE, or a GGUF");
  CausalLM model = CausalLM::load(source);
  if (!command.to.empty()) {
    const QuantizePlan plan = plain_plan(command, model.config);
    const QuantizedModel quantized = quantize(model, plan, {}, thread_count(command), progress);
    model = dequantized(quantized);
    info.notes = quantized.plan.fallback_lines();
    if (const std::string note = requantization_note(source, plan); !note.empty())
      info.notes.insert(info.notes.begin(), note);
    info.notes.insert(info.notes.begin(), "the weights are the values of " + plan.name + " codes");
  }
  add_kv_note(model.config, info);
  export_hf(command.out, model, source.tokenizer(), info, target.dtype.empty() ? "float32" : target.dtype, progress);
  return {{"directory", command.out}, {"notes", info.notes}};
}

// Text to judge arms on, which nobody learns from: documents of `text` that share 13 words with it are dropped.
std::vector<Document> evaluation_text(const std::vector<std::string>& files, const Tokenizer& tokenizer,
                                      TextData& text) {
  std::vector<Document> documents = read_all_documents(files);
  Splits splits{.evaluation = runs_of(documents)};
  drop_overlapping(text.tokens, tokenizer, splits);
  const std::string count = std::to_string(splits.in_evaluation);
  if (text.tokens.documents.empty())
    throw input_error("--data", "no document is left", "text that does not repeat --evaluation", count + " that do");
  if (splits.in_evaluation > 0)
    text.notes.push_back(count + " documents dropped that share 13 words in a row with --evaluation");
  return documents;
}

// Whether the student learns in tokens of its own, beside a teacher that reads its. Error{Input}: the two read text
// differently, and what was asked for compares them token for token.
bool learns_across(const DistillStage& asked, const Tokenizer& teacher, const Tokenizer& student,
                   const std::string& source) {
  if (same_reading(teacher, student)) return asks_alignment(asked);
  if (!needs_same_tokens(asked).empty()) require_same_reading(teacher, student, source, kAcrossTokenizers);
  if (asked.arms) throw usage_error("--arms", "judges all arms token for token", "one tokenizer for both models");
  return true;
}

// The text as the student reads it, with what its teacher says of it where that is kept.
struct LearnedData {
  TokenDataset tokens;
  std::vector<int32_t> kept{};  // TrainInputs::student_to_teacher
  std::string note{};
};
struct LearnedBy {
  const ModelFile& teacher;
  const Tokenizer& student;
  const std::string& source;  // of the student
  bool across = false;
};
LearnedData learned_data(TokenDataset text, const LearnedBy& by, const DistillOptions& options,
                         const std::string& steps, int threads, const Progress& progress) {
  const Tokenizer teacher(by.teacher.tokenizer());
  if (by.across && asks_alignment(options)) {
    AlignedData aligned = aligned_data(text, teacher, by.student, options.sequence_tokens);
    return {.tokens = std::move(aligned.data), .note = aligned.note()};
  }
  if (by.across) return {.tokens = in_tokens_of(by.student, text, teacher)};
  LearnedData out{.tokens = std::move(text), .kept = teacher_ids(teacher, by.student, by.source)};
  if (keeps_signal(options))
    out.tokens = resumable(kResumeHint, [&] {
      return with_teacher_signal(by.teacher, std::move(out.tokens), out.kept, options, steps, threads, progress);
    });
  if (!out.kept.empty()) out.tokens = remap_dataset(out.tokens, teacher, by.student, {by.student.data(), out.kept});
  return out;
}

void check_arms(const DistillInputs& inputs, const DistillStage& asked, const std::string& steps) {
  if (asked.arms && inputs.evaluation.empty())
    throw usage_error("--arms", "are judged on text that nobody learns from, and there is none", "--evaluation TEXT");
  if (!asked.arms && !inputs.evaluation.empty())
    throw usage_error("--evaluation", "is the text that arms are judged on", "--arms beside it");
  if (inputs.resume) return;
  TrainingCheckpoints(steps, "").require_none();
  if (fs::exists(steps + "/arms")) throw holds_steps(steps, "arms");
}

}  // namespace

std::string prune_model(const CommandOptions& given, const PruneOptions& options, const Progress& progress,
                        bool resume) {
  require_valid(options, "attar prune");
  const CommandOptions command = checked(given);
  check_type(command);
  const std::string steps = command.out + ".steps";
  check_steps_folder(steps, inputs_of(command, {}));
  if (!resume && has_kept_parts(steps, kCutsKind)) throw holds_steps(steps, kCutsKind);
  if (resume && !has_kept_parts(steps, kCutsKind)) note_nothing_to_resume("prune", steps, progress);
  const ModelFile source = ModelFile::open(command.model, hub_source(progress));
  CausalLM model = CausalLM::load(source);
  TokenizerData tokenizer = source.tokenizer();
  TextData data;
  if (!command.data.empty())
    data = text_data(command, tokenizer, progress);
  else if (asks_the_text(options))
    throw usage_error("attar prune", "needs text to measure the model on", "--data TEXT");
  const PruneResult result = resumable(kResumeHint, [&] {
    return prune(model, tokenizer, data.tokens, options, thread_count(command), progress, steps);
  });
  const ExportInfo info = info_of(source);
  Json json = write_model(command, model, tokenizer, info, progress);
  if (is_gguf(command.out)) add_note(json, requantization_note(source, plain_plan(command, model.config)));
  json["parameters_before"] = result.parameters_before;
  json["parameters_after"] = result.parameters_after;
  json["removed_layers"] = result.removed_layers;
  json["kept_layers"] = result.kept_layers;
  json["layers"] = Json::parse(layer_cuts_json(result.cuts));
  for (const std::string& note : result.notes) add_note(json, note);
  add_near_duplicates(json, data);
  for (const std::string& note : data.notes) add_note(json, note);
  remove_kept_parts(steps, kCutsKind);
  std::error_code not_empty;
  fs::remove(steps, not_empty);
  return document(json);
}

std::string distill_model(const CommandOptions& given, const DistillInputs& from, const DistillStage& asked,
                          const Progress& progress) {
  require_valid(asked, "attar distill");
  device_here(asked.device);  // before the work, not after it
  const std::string& student = from.student;
  const bool resume = from.resume;
  std::vector<std::string> read = from.evaluation;
  read.push_back(student);
  const CommandOptions command = checked(given, read);
  check_type(command);
  const std::string steps = command.out + ".steps";
  check_steps_folder(steps, inputs_of(command, read));
  check_arms(from, asked, steps);
  if (resume && !fs::exists(steps)) note_nothing_to_resume("distill", steps, progress);
  if (command.data.empty()) throw usage_error("attar distill", "needs text to learn from", "--data TEXT");
  const ModelFile teacher_file = ModelFile::open(command.model, hub_source(progress)),
                  student_file = ModelFile::open(student, hub_source(progress));
  const Tokenizer teacher_tokenizer(teacher_file.tokenizer()), tokenizer(student_file.tokenizer());
  const bool across = learns_across(asked, teacher_tokenizer, tokenizer, student);
  for (const ModelFile* file : {&teacher_file, &student_file})
    if (const std::string wrong = sequence_problem(asked, file->config().context_length); !wrong.empty())
      throw usage_error(file->source(), wrong);
  const DistillOptions options =
      with_sequence_tokens(asked, std::min(teacher_file.config().context_length, student_file.config().context_length));
  TextData text = text_data(command, teacher_file.tokenizer(), progress);
  std::vector<Document> evaluation;
  if (asked.arms) evaluation = evaluation_text(from.evaluation, teacher_tokenizer, text);
  TokenizerData learned = student_file.tokenizer();  // what it has learned to answer in
  if (!text.chat_template.empty()) learned.chat_template = text.chat_template;
  const LearnedData from_text = learned_data(std::move(text.tokens), {teacher_file, tokenizer, student, across},
                                             options, steps, thread_count(command), progress);
  const TokenDataset& data = from_text.tokens;
  CausalLM teacher, model = CausalLM::load(student_file);
  const bool beside = resumable(kResumeHint, [&] { return needs_teacher_beside(options, data, progress); });
  if (beside) teacher = CausalLM::load(teacher_file);
  const TrainInputs inputs{.teacher = beside ? &teacher : nullptr,
                           .teacher_hash = teacher_file.content_hash(),
                           .student_hash = student_file.content_hash(),
                           .student_to_teacher = from_text.kept,
                           .teacher_head = head_for_states(teacher_file, data),
                           .data = &data,
                           .write_rollouts = student_writer(learned, thread_count(command)),
                           .checkpoint_directory = steps,
                           .resume = resume,
                           .seed = static_cast<uint64_t>(command.seed),
                           .threads = thread_count(command),
                           .ranks = command.ranks,
                           .let_teacher_go = [&teacher] { teacher = CausalLM(); },
                           .asked_beside = true};
  ArmsOutcome arms;
  if (asked.arms)
    arms = resumable(kResumeHint, [&] {
      return train_with_arms(model, learned,
                             {.teacher = teacher_file,
                              .text = evaluation,
                              .chat_template = command.text.chat_template,
                              .seeds = asked.arm_seeds,
                              .folder = steps + "/arms"},
                             inputs, options, progress);
    });
  const TrainResult trained = asked.arms ? std::move(arms.trained) : train(model, learned, inputs, options, progress);
  Json json = write_model(command, model, learned, info_of(student_file), progress);
  fs::remove_all(steps);
  const std::string results = training_results(trained);
  json.update(Json::parse(results));
  const SignalRecord signal = signal_record(trained, data, options);
  json.update(Json::parse(signal.results));
  if (asked.arms) json["arms"] = Json::parse(arms.results);
  add_near_duplicates(json, text);
  for (const auto& notes : {signal.notes, training_notes(results), arms.notes, text.notes, {from_text.note}})
    for (const std::string& note : notes) add_note(json, note);
  return document(json);
}

std::string export_model(const CommandOptions& given, const ExportTarget& target, const Progress& progress) {
  check_target(given, target);
  plain_type(given.to);
  const uint64_t split_bytes = target.split_size.empty() ? 0 : parse_size(target.split_size, "--split-size");
  const CommandOptions command = checked(given);
  const ModelFile source = ModelFile::open(command.model, hub_source(progress));
  ExportInfo info = info_of(source);
  info.split_bytes = split_bytes;
  if (target.format == "hf") return document(write_hf(command, target, source, info, progress));
  if (target.format == "compressed-tensors") return document(write_compressed_tensors(command, source, info, progress));
  if (command.to.empty()) {
    const GgufExport written = repack_gguf(command.out, source, info, progress);
    return document({{"file", command.out},
                     {"files", written.files},
                     {"bytes", written.size_bytes},
                     {"architecture", written.architecture},
                     {"notes", written.notes}});
  }
  Json json = write_model(command, CausalLM::load(source), source.tokenizer(), info, progress);
  add_note(json, requantization_note(source, plain_plan(command, source.config())));
  return document(json);
}

}  // namespace attar
