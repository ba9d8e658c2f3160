// run, prune, distill, quantize, export, evaluate, doctor, with_tensors. Each takes its options as keywords and returns
// JSON.
#include <ATen/ops/from_blob.h>

#include "export/export.h"
#include "python/options.h"
#include "recipes/commands.h"
#include "recipes/output.h"
#include "recipes/run.h"

namespace attar::python {
namespace {

template <class T>
T take(py::dict& given, const char* name, T fallback) {
  if (!given.contains(name)) return fallback;
  T value = given[name].cast<T>();
  given.attr("pop")(name);
  return value;
}

CommandOptions command_of(const std::string& model, const std::string& out, const char* data_name, py::dict& given) {
  CommandOptions command{.model = model, .out = out, .data = {}};
  command.data = take(given, data_name, std::vector<std::string>{});
  command.threads = take(given, "threads", 0);
  command.seed = take(given, "seed", int64_t{0});
  command.to = take(given, "gguf_type", std::string());
  return command;
}

py::object run(const std::string& recipe_path, const std::vector<std::string>& overrides, const std::string& out,
               bool resume, int threads, const py::object& callback) {
  RunOptions options{.folder = out, .resume = resume, .threads = threads, .runtime_program = {}};
  options.runtime_program = py::module_::import("attar._programs").attr("runtime_program")().cast<std::string>();
  const Recipe recipe = parse_recipe(recipe_path, overrides);
  const Progress progress = progress_of(callback);
  RunOutcome outcome;
  {
    const py::gil_scoped_release release;
    outcome = run_recipe(recipe, options, progress);
  }
  py::dict result;
  result["folder"] = outcome.folder, result["gguf"] = outcome.gguf, result["report_html"] = outcome.report_html,
  result["report_json"] = outcome.report_json;
  result["gates_passed"] = outcome.gates_passed, result["report"] = outcome.report;
  return result;
}

std::string prune_call(const std::string& model, const std::string& out, const py::object& callback, py::dict given) {
  CommandOptions command = command_of(model, out, "calibration", given);
  const auto options = take_options<PruneOptions>(given);
  refuse_rest(given, "prune");
  const Progress progress = progress_of(callback);
  const py::gil_scoped_release release;
  return prune_model(command, options, progress);
}

std::string quantize_call(const std::string& model, const std::string& out, const py::object& callback,
                          py::dict given) {
  CommandOptions command = command_of(model, out, "calibration", given);
  const auto imatrix = take(given, "imatrix", std::string());
  const auto options = take_options<QuantizeOptions>(given);
  refuse_rest(given, "quantize");
  const Progress progress = progress_of(callback);
  const py::gil_scoped_release release;
  return quantize_model(command, options, imatrix, progress);
}

std::string distill_call(const std::string& teacher, const std::string& student, const std::string& out,
                         const py::object& callback, py::dict given) {
  CommandOptions command = command_of(teacher, out, "data", given);
  const bool resume = take(given, "resume", false);
  const auto options = take_options<DistillOptions>(given);
  refuse_rest(given, "distill");
  const Progress progress = progress_of(callback);
  const py::gil_scoped_release release;
  return distill_model(command, student, options, resume, progress);
}

std::string export_call(const std::string& model, const std::string& out, const std::string& format,
                        const std::string& to, const std::string& dtype, bool dequantized) {
  CommandOptions command{.model = model, .out = out, .data = {}};
  command.to = to;
  const py::gil_scoped_release release;
  return export_model(command, {.format = format, .dtype = dtype, .dequantized = dequantized});
}

std::string eval_call(const std::string& model, const py::object& callback, py::dict given) {
  CommandOptions command = command_of(model, "", "data", given);
  EvalOptions options;
  options.tasks = take(given, "tasks", options.tasks);
  options.numerics = take(given, "numerics", options.numerics);
  options.context = take(given, "context", options.context);
  options.limit = take(given, "limit", options.limit);
  refuse_rest(given, "evaluate");
  const Progress progress = progress_of(callback);
  const py::gil_scoped_release release;
  return eval_model(command, options, progress);
}

// A copy of `model` with some tensors replaced, by Hugging Face or GGUF name, as a Hugging Face directory.
void with_tensors(const std::string& model,
                  const std::map<std::string, py::array_t<float, py::array::c_style | py::array::forcecast>>& tensors,
                  const std::string& given_out) {
  const std::string out = checked_out(given_out, {model});
  const ModelFile file = ModelFile::open(model);
  CausalLM changed = CausalLM::load(file);
  std::map<std::string, const TensorSpec*> known;
  const std::vector<TensorSpec> specs = tensor_specs(changed.config);
  for (const TensorSpec& spec : specs) known[spec.name] = known[spec.hf_name] = &spec;
  for (const auto& [name, array] : tensors) {
    const auto found = known.find(name);
    if (found == known.end()) throw usage_error("tensors", "the model has no tensor " + printable(name));
    const std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
    if (shape != found->second->shape) throw usage_error("tensors", name + " has another shape");
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
  module.def("plan", [](const std::string& recipe, const std::vector<std::string>& overrides) {
    return plan_recipe(parse_recipe(recipe, overrides), {});
  });
  module.def("prune", prune_call);
  module.def("quantize", quantize_call);
  module.def("distill", distill_call);
  module.def("export", export_call);
  module.def("evaluate", eval_call);
  module.def("doctor", doctor);
  module.def("with_tensors", with_tensors);
}

}  // namespace attar::python
