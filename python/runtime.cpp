// Model: generate, score, logits, tokenize. verify.
#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>

#include "python/options.h"
#include "runtime/formats/model_text.h"
#include "runtime/judge/gates.h"
#include "runtime/judge/measure.h"
#include "runtime/judge/score.h"
#include "runtime/judge/verify.h"
#include "runtime/judge/verify_json.h"
#include "runtime/text/generate.h"

namespace attar::python {
namespace {

using Ids = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

std::vector<int32_t> to_vector(const Ids& ids) {
  if (ids.ndim() != 1)
    throw usage_error("tokens", "is no row of token ids", "one dimension", std::to_string(ids.ndim()));
  return {ids.data(), ids.data() + ids.size()};
}

// One loaded model. Calls from several threads take turns; the interpreter is free while one computes. A callback may
// call the model that calls it: every call has a workspace of its own.
class PyModel {
 public:
  explicit PyModel(py::kwargs given) : pool_(take_threads(given)) {
    const auto path = take<std::string>(given, "model"), numerics = take<std::string>(given, "numerics");
    const runtime::LoadOptions options{.numerics = numerics_of(numerics, "numerics")};
    const NativeCall native;
    model_.emplace(runtime::Model::load(ModelFile::open(path), options, pool_));
  }

  std::string generate(py::kwargs given) {
    const auto prompt = take<std::string>(given, "prompt"), system = take<std::string>(given, "system");
    const bool chat = take<bool>(given, "chat"), special = take<bool>(given, "special");
    const auto chat_template = take<std::string>(given, "chat_template");
    const py::object on_text = given.attr("pop")("on_text");
    const runtime::GenerateOptions options = take_generate_options(given);
    TextReader reader(model_->tokenizer(), {.chat_template = chat_template, .special = special, .day = Day::Today});
    Prompt asked{.text = prompt, .chat = chat};
    if (!system.empty()) asked.system = system;
    const std::vector<int32_t> tokens = reader.prompt_tokens(asked);
    if (tokens.empty()) throw usage_error("prompt", "is empty");
    const auto show = [&](std::string_view text) {
      const py::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      return on_text.is_none() || !on_text(std::string(text)).is(py::bool_(false));
    };
    const Progress signals = signals_only();
    const NativeCall native;
    const std::lock_guard turn(mutex_);
    runtime::KvCache cache(*model_);
    runtime::Workspace work(*model_, pool_);
    return runtime::generate(*model_, cache, tokens, options, work, show, signals).text;
  }

  std::vector<int32_t> tokenize(py::kwargs given) const {
    const auto text = take<std::string>(given, "text");
    const bool special = take<bool>(given, "special");
    const bool start = take<bool>(given, "start");
    return model_->tokenizer().encode(text, {.add_special = start, .parse_special = special});
  }
  py::bytes detokenize(const Ids& ids) const { return model_->tokenizer().decode(checked(to_vector(ids))); }

  py::array_t<double> score(const Ids& ids) {
    const std::vector<int32_t> tokens = checked(to_vector(ids));
    std::vector<double> scores;
    const Progress signals = signals_only();
    {
      const NativeCall native;
      const std::lock_guard turn(mutex_);
      runtime::Workspace work(*model_, pool_);
      scores = runtime::score_tokens(*model_, tokens, work, signals);
    }
    return py::array_t<double>(static_cast<py::ssize_t>(scores.size()), scores.data());
  }

  // Logits after every token but the last: (n - 1, V)
  py::array_t<float> logits(const Ids& ids) {
    const std::vector<int32_t> tokens = checked(to_vector(ids));
    const auto rows = static_cast<py::ssize_t>(tokens.empty() ? 0 : tokens.size() - 1),
               columns = static_cast<py::ssize_t>(model_->config().vocab_size);
    py::array_t<float> out({rows, columns});
    float* values = out.mutable_data();
    const auto copy = [&](const runtime::Prediction& p) {
      std::copy(p.logits.begin(), p.logits.end(), values + p.position * columns);
    };
    const Progress signals = signals_only();
    const NativeCall native;
    const std::lock_guard turn(mutex_);
    runtime::Workspace work(*model_, pool_);
    runtime::for_each_logits(*model_, tokens, work, copy, signals);
    return out;
  }

  py::dict config() const {
    const ModelConfig& c = model_->config();
    py::dict out;
    out["family"] = traits(c.family).name, out["vocab_size"] = c.vocab_size, out["width"] = c.width,
    out["layers"] = c.n_layers();
    out["context_length"] = c.context_length, out["parameters"] = c.parameter_count(),
    out["bytes"] = model_->file_bytes();
    return out;
  }

 private:
  static runtime::GenerateOptions take_generate_options(py::dict& given) {
    auto options = take_options<runtime::GenerateOptions>(given);
    options.seed = take(given, "seed", options.seed);
    refuse_rest<runtime::GenerateOptions>(given, "generate", {"prompt", "chat", "system", "special", "seed"});
    runtime::check(options.sampling);
    if (options.max_tokens < 0)
      throw usage_error("max_tokens", "is negative", "0 or more", std::to_string(options.max_tokens));
    return options;
  }

  std::vector<int32_t> checked(std::vector<int32_t> ids) const {
    for (const int32_t id : ids)
      if (id < 0 || id >= model_->tokenizer().vocab_size())
        throw usage_error("tokens", "hold an id outside the vocabulary",
                          "below " + std::to_string(model_->tokenizer().vocab_size()), std::to_string(id));
    return ids;
  }

  ThreadPool pool_;
  std::optional<runtime::Model> model_;
  std::recursive_mutex mutex_;
};

std::string verify_call(py::kwargs given) {
  const auto teacher = take<std::string>(given, "teacher"), student = take<std::string>(given, "student");
  const auto data = take<std::vector<std::string>>(given, "data");
  const auto gates = take<std::map<std::string, double>>(given, "gates");
  const bool bench = take<bool>(given, "bench");
  const int threads = take_threads(given);
  const Progress progress = take_progress(given);
  const auto options = take_options<runtime::VerifyOptions>(given);
  refuse_rest<runtime::VerifyOptions>(given, "verify", {"teacher", "student", "data", "gates", "bench", "threads"});
  runtime::check_gates(gates, options, bench);
  const std::string program = runtime_program();
  const NativeCall native;
  const std::vector<Document> text = read_all_documents(data);
  const ModelFile a = ModelFile::open(teacher), b = ModelFile::open(student);
  ThreadPool pool(threads);
  const runtime::VerifyResults results = runtime::verify(a, b, text, options, pool, progress);
  runtime::Speeds speeds;
  if (bench) speeds = runtime::measure_both(program, teacher, student, threads, progress);
  return runtime::verify_document(results, speeds,
                                  runtime::judge(gates, results, speeds.teacher, speeds.student, b.size_bytes()));
}

}  // namespace

void register_runtime(py::module_& module) {
  py::class_<PyModel>(module, "Model")
      .def(py::init<py::kwargs>())
      .def("generate", &PyModel::generate)
      .def("tokenize", &PyModel::tokenize)
      .def("detokenize", &PyModel::detokenize)
      .def("score", &PyModel::score)
      .def("logits", &PyModel::logits)
      .def("config", &PyModel::config);
  module.def("verify", verify_call);
}

}  // namespace attar::python
