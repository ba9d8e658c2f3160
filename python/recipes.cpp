// run, plan, prune, distill, quantize, export, evaluate, doctor, with_tensors. Each takes keywords and returns JSON.
#include <ATen/ops/from_blob.h>

#include "export/export.h"
#include "python/options.h"
#include "recipes/commands/commands.h"
#include "recipes/commands/output.h"
#include "recipes/run/run.h"

namespace attar::python {
namespace {

CommandOptions take_command(py::dict& given, const char* model_name, const char* data_name) {
  CommandOptions command{.model = take<std::string>(given, model_name),
                         .out = take<std::string>(given, "out"),
                         .data = take<std::vector<std::string>>(given, data_name)};
  command.threads = take_threads(given);
  command.seed = take<int64_t>(given, "seed");
  command.to = take<std::string>(given, "gguf_type", "");
  command.force = take<bool>(given, "force");
  return command;
}

// Arguments of those that write a model.
std::vector<std::string> of_commands(std::vector<std::string> more) {
  more.insert(more.end(), {"model", "out", "data", "force", "threads", "seed", "progress"});
  return more;
}

py::dict run(py::kwargs given) {
  const Recipe recipe =
      parse_recipe(take<std::string>(given, "recipe"), take<std::vector<std::string>>(given, "overrides"));
  const RunOptions options{.folder = take<std::string>(given, "out"),
                           .resume = take<bool>(given, "resume"),
                           .threads = take_threads(given),
                           .runtime_program = runtime_program(),
                           .log = take_options<LogOptions>(given)};
  const Progress progress = take_progress(given);
  RunOutcome outcome;
  {
    const NativeCall native;
    outcome = run_recipe(recipe, options, progress);
  }
  py::dict result;
  result["folder"] = outcome.folder, result["gguf"] = outcome.gguf, result["report_html"] = outcome.report_html,
  result["report_json"] = outcome.report_json;
  result["gates_passed"] = outcome.gates_passed, result["report"] = outcome.report;
  return result;
}

std::string plan(py::kwargs given) {
  return plan_recipe(
      parse_recipe(take<std::string>(given, "recipe"), take<std::vector<std::string>>(given, "overrides")), {});
}

std::string prune_call(py::kwargs given) {
  CommandOptions command = take_command(given, "model", "data");
  const Progress progress = take_progress(given);
  command.text = take_options<TextDataOptions>(given);
  const auto options = take_options<PruneOptions>(given);
  refuse_rest<TextDataOptions, PruneOptions>(given, "prune", of_commands({}));
  const NativeCall native;
  return prune_model(command, options, progress);
}

std::string quantize_call(py::kwargs given) {
  CommandOptions command = take_command(given, "model", "data");
  const Progress progress = take_progress(given);
  const QuantizeInputs inputs{.imatrix = take<std::string>(given, "imatrix"),
                              .imatrix_out = take<std::string>(given, "imatrix_out"),
                              .training = take<std::vector<std::string>>(given, "train"),
                              .resume = take<bool>(given, "resume"),
                              .cache = take<std::string>(given, "cache")};
  command.text = take_options<TextDataOptions>(given);
  const auto options = take_options<QuantizeOptions>(given);
  refuse_rest<TextDataOptions, QuantizeOptions>(given, "quantize",
                                                of_commands({"train", "imatrix", "imatrix_out", "resume", "cache"}));
  const NativeCall native;
  return quantize_model(command, options, inputs, progress);
}

std::string distill_call(py::kwargs given) {
  CommandOptions command = take_command(given, "teacher", "data");
  const Progress progress = take_progress(given);
  const auto student = take<std::string>(given, "student");
  const bool resume = take<bool>(given, "resume");
  command.text = take_options<TextDataOptions>(given);
  const auto options = take_options<DistillOptions>(given);
  refuse_rest<TextDataOptions, DistillOptions>(given, "distill", of_commands({"student", "teacher", "resume"}));
  const NativeCall native;
  return distill_model(command, student, options, resume, progress);
}

std::string export_call(py::kwargs given) {
  CommandOptions command = take_command(given, "model", "data");
  command.to = take<std::string>(given, "to");
  const Progress progress = take_progress(given);
  const auto target = take_options<ExportTarget>(given);
  const NativeCall native;
  return export_model(command, target, progress);
}

std::string eval_call(py::kwargs given) {
  const CommandOptions command = take_command(given, "model", "data");
  const Progress progress = take_progress(given);
  const auto options = take_options<EvalOptions>(given);
  refuse_rest<EvalOptions>(given, "evaluate", {"model", "data", "threads", "progress"});
  const NativeCall native;
  return eval_model(command, options, progress);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

// A copy of `model` with some tensors replaced, by Hugging Face or GGUF name, as a Hugging Face directory.
using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;
void with_tensors(py::kwargs given) {
  const auto model = take<std::string>(given, "model");
  const std::string out = checked_out(take<std::string>(given, "out"), {model},
                                      take<bool>(given, "force") ? Existing::Replace : Existing::Refuse);
  const ModelFile file = ModelFile::open(model);
  CausalLM changed = CausalLM::load(file);
  std::map<std::string, const TensorSpec*> known;
  const std::vector<TensorSpec> specs = tensor_specs(changed.config);
  for (const TensorSpec& spec : specs) known[spec.name] = known[spec.hf_name] = &spec;
  for (const auto& [name, array] : take<std::map<std::string, Array>>(given, "tensors")) {
    const auto found = known.find(name);
    if (found == known.end()) throw usage_error("tensors", "the model has no tensor " + printable(name));
    const std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
    if (shape != found->second->shape)
      throw usage_error(printable(name), "has another shape", shape_text(found->second->shape), shape_text(shape));
    changed.parameters[found->second->name] =
        at::from_blob(const_cast<float*>(array.data()), shape, at::kFloat).clone();
  }
  ExportInfo info;
  info.provenance = file.provenance();
  info.attar_version = ATTAR_VERSION;
  export_hf(out, changed, file.tokenizer(), info, "float32");
}

}  // namespace

void register_recipes(py::module_& module) {
  module.def("run", run);
  module.def("plan", plan);
  module.def("prune", prune_call);
  module.def("quantize", quantize_call);
  module.def("distill", distill_call);
  module.def("export", export_call);
  module.def("evaluate", eval_call);
  module.def("doctor", [] { return doctor(runtime_program()); });
  module.def("with_tensors", with_tensors);
}

}  // namespace attar::python
