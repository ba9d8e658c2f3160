// The module attar._toolkit: run, plan, prune, distill, quantize, export, with_tensors. Each takes
// keywords and returns JSON.
#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

#include "export/export.h"
#include "python/options.h"
#include "recipes/commands/commands.h"
#include "recipes/commands/output.h"
#include "recipes/hub/hub_model.h"
#include "recipes/run/folder/kept_recipe.h"
#include "recipes/run/run.h"

namespace attar::python {
namespace {

CommandOptions take_command(py::dict& given, const char* model_name = "model") {
  CommandOptions command{.model = take<std::string>(given, model_name),
                         .out = take<std::string>(given, "out"),
                         .data = take<std::vector<std::string>>(given, "data")};
  command.threads = take_threads(given);
  command.seed = take<int64_t>(given, "seed");
  command.force = take<bool>(given, "force");
  return command;
}

// A file or the folder of a run, or `text` that a dict was written to; its paths start at the current folder.
struct AskedRecipe {
  std::string path, text;
  std::vector<std::string> overrides;

  Recipe read(RunOptions& options, const Progress& progress) const {
    return text.empty() ? recipe_to_run(path, overrides, options, progress)
                        : parse_recipe_text(text, path, overrides, progress);
  }
};
AskedRecipe take_recipe(py::dict& given) {
  return {.path = take<std::string>(given, "recipe"),
          .text = take<std::string>(given, "text"),
          .overrides = take<std::vector<std::string>>(given, "overrides")};
}

py::dict run(py::kwargs given) {
  RunOptions options{.folder = take<std::string>(given, "out"),
                     .resume = take<bool>(given, "resume"),
                     .threads = take_threads(given),
                     .runtime_program = runtime_program(),
                     .log = take_options<LogOptions>(given)};
  const AskedRecipe recipe = take_recipe(given);
  Watch watch = take_watch(given);
  refuse_rest(given, "run");
  const RunOutcome outcome = watch.call(
      [&](const Progress& progress) { return run_recipe(recipe.read(options, progress), options, progress); });
  py::dict result;
  result["folder"] = path_of(outcome.folder), result["gguf"] = path_of(outcome.gguf);
  result["report_html"] = path_of(outcome.report_html), result["report_json"] = path_of(outcome.report_json);
  result["gates_passed"] = outcome.gates_passed, result["report"] = outcome.report;
  return result;
}

std::string plan(py::kwargs given) {
  RunOptions options;
  const AskedRecipe recipe = take_recipe(given);
  refuse_rest(given, "plan");
  return Watch().call(
      [&](const Progress& progress) { return plan_recipe(recipe.read(options, progress), options, progress); });
}

std::string prune_call(py::kwargs given) {
  CommandOptions command = take_command(given);
  command.to = take<std::string>(given, "to");
  const bool resume = take<bool>(given, "resume");
  Watch watch = take_watch(given);
  command.text = take_options<DataOptions>(given);
  const auto options = take_options<PruneOptions>(given);
  refuse_rest(given, "prune");
  return watch.call([&](const Progress& progress) { return prune_model(command, options, progress, resume); });
}

std::string quantize_call(py::kwargs given) {
  CommandOptions command = take_command(given);
  Watch watch = take_watch(given);
  const QuantizeInputs inputs{.imatrix = take<std::string>(given, "imatrix"),
                              .imatrix_out = take<std::string>(given, "imatrix_out"),
                              .training = take<std::vector<std::string>>(given, "train"),
                              .resume = take<bool>(given, "resume"),
                              .cache = take<std::string>(given, "cache")};
  command.text = take_options<DataOptions>(given);
  const auto options = take_options<QuantizeOptions>(given);
  refuse_rest(given, "quantize");
  return watch.call([&](const Progress& progress) { return quantize_model(command, options, inputs, progress); });
}

std::string distill_call(py::kwargs given) {
  CommandOptions command = take_command(given, "teacher");
  command.to = take<std::string>(given, "to");
  Watch watch = take_watch(given);
  const DistillInputs inputs{.student = take<std::string>(given, "student"),
                             .evaluation = take<std::vector<std::string>>(given, "evaluation"),
                             .resume = take<bool>(given, "resume")};
  command.text = take_options<DataOptions>(given);
  const auto options = take_options<DistillStage>(given);
  refuse_rest(given, "distill");
  return watch.call([&](const Progress& progress) { return distill_model(command, inputs, options, progress); });
}

std::string export_call(py::kwargs given) {
  CommandOptions command = take_command(given);
  command.to = take<std::string>(given, "to");
  Watch watch = take_watch(given);
  const auto target = take_options<ExportTarget>(given);
  refuse_rest(given, "export");
  return watch.call([&](const Progress& progress) { return export_model(command, target, progress); });
}

// Where a model of the Hugging Face hub lies here, once it does.
py::object hub_path(py::kwargs given) {
  const auto model = take<std::string>(given, "model");
  Watch watch = take_watch(given);
  refuse_rest(given, "hub_path");
  return path_of(watch.call([&](const Progress& progress) { return resolve_model_path(model, hub_source(progress)); }));
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

// A copy of `model` with some tensors replaced, by Hugging Face or GGUF name, as a Hugging Face directory.
using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Arrays = std::map<std::string, Array>;
void replace_tensors(CausalLM& changed, const Arrays& arrays) {
  std::map<std::string, const TensorSpec*> known;
  const std::vector<TensorSpec> specs = tensor_specs(changed.config);
  for (const TensorSpec& spec : specs) known[spec.name] = known[spec.hf_name] = &spec;
  for (const auto& [name, array] : arrays) {
    const auto found = known.find(name);
    if (found == known.end()) throw usage_error("tensors", "the model has no tensor " + printable(name));
    const std::vector<int64_t> shape(array.shape(), array.shape() + array.ndim());
    if (shape != found->second->shape)
      throw usage_error(printable(name), "has another shape", shape_text(found->second->shape), shape_text(shape));
    changed.parameters[found->second->name] =
        at::from_blob(const_cast<float*>(array.data()), shape, at::kFloat).clone();
  }
}
void with_tensors(py::kwargs given) {
  const auto model = take<std::string>(given, "model");
  const std::string out = checked_out(take<std::string>(given, "out"), {model},
                                      take<bool>(given, "force") ? Existing::Replace : Existing::Refuse);
  const auto arrays = take<Arrays>(given, "tensors");
  Watch().call([&](const Progress& progress) {
    const ModelFile file = ModelFile::open(model, hub_source(progress));
    CausalLM changed = CausalLM::load(file);
    replace_tensors(changed, arrays);
    ExportInfo info;
    info.provenance = file.provenance();
    info.attar_version = ATTAR_VERSION;
    export_hf(out, changed, file.tokenizer(), info, "float32", progress);
    return 0;
  });
}

// One line, as the programs say it: LibTorch's own text ends in a backtrace.
std::optional<Error> of_libtorch(const std::exception_ptr& pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return Error(ErrorKind::Failure, {.what = text.substr(0, text.find('\n'))});
  } catch (...) {
    return std::nullopt;
  }
}

py::dict fields() {
  py::dict of;
  of["run"] = fields_of<LogOptions>();
  of["prune"] = fields_of<PruneOptions, DataOptions>();
  of["quantize"] = fields_of<QuantizeOptions, DataOptions>();
  of["distill"] = fields_of<DistillStage, DataOptions>();
  of["export"] = fields_of<ExportTarget>();
  return of;
}

}  // namespace
}  // namespace attar::python

PYBIND11_MODULE(_toolkit, module) {
  using namespace attar::python;
  register_error(module, of_libtorch);
  module.def("run", run);
  module.def("plan", plan);
  module.def("hub_path", hub_path);
  module.def("prune", prune_call);
  module.def("quantize", quantize_call);
  module.def("distill", distill_call);
  module.def("export", export_call);
  module.def("with_tensors", with_tensors);
  module.def("fields", fields);
}
