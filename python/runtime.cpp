// The module attar._runtime, which needs no LibTorch: Model, Tokenizer, verify, evaluate, inspect, doctor.
#include <algorithm>
#include <memory>
#include <optional>

#include "python/options.h"
#include "python/stream.h"
#include "runtime/base/words/suggestion.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_paths.h"
#include "runtime/judge/doctor.h"
#include "runtime/judge/gates.h"
#include "runtime/judge/inspect_json.h"
#include "runtime/judge/measure.h"
#include "runtime/judge/score.h"
#include "runtime/judge/tasks/eval_json.h"
#include "runtime/judge/verify.h"
#include "runtime/judge/verify_json.h"
#include "runtime/text/batch_engine.h"
#include "runtime/text/embed.h"

namespace attar::python {
namespace {

using Ids = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

std::vector<int32_t> checked(const Ids& ids, const Tokenizer& tokenizer) {
  if (ids.ndim() != 1)
    throw usage_error("tokens", "is no row of token ids", "one dimension", std::to_string(ids.ndim()));
  std::vector<int32_t> tokens{ids.data(), ids.data() + ids.size()};
  for (const int32_t id : tokens)
    if (id < 0 || id >= tokenizer.vocab_size())
      throw usage_error("tokens", "hold an id outside the vocabulary",
                        "below " + std::to_string(tokenizer.vocab_size()), std::to_string(id));
  return tokens;
}

std::vector<ChatMessage> to_messages(const std::vector<std::map<std::string, std::string>>& given) {
  std::vector<ChatMessage> messages;
  for (const auto& message : given) {
    const auto role = message.find("role"), content = message.find("content");
    if (role == message.end() || content == message.end() || message.size() != 2)
      throw usage_error("messages", "hold what is no message", "{\"role\": ..., \"content\": ...}");
    messages.push_back({role->second, content->second});
  }
  return messages;
}

py::object optional_id(int32_t id) {
  return id < 0 ? py::object(py::none()) : py::int_(id);
}

// Of a model, or opened alone.
class PyTokenizer {
 public:
  explicit PyTokenizer(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}
  static PyTokenizer open(py::kwargs given) {
    const auto model = take<std::string>(given, "model");
    refuse_rest(given, "Tokenizer");
    return PyTokenizer(Watch().call(
        [&](const Progress&) { return std::make_shared<const Tokenizer>(ModelFile::open(model).tokenizer(), model); }));
  }

  std::vector<int32_t> encode(py::kwargs given) const {
    const auto text = take<std::string>(given, "text");
    const bool special = take<bool>(given, "special"), start = take<bool>(given, "start");
    refuse_rest(given, "encode");
    return tokenizer_->encode(text, {.add_special = start, .parse_special = special});
  }
  py::bytes decode(const Ids& ids, bool special) const {
    return tokenizer_->decode(checked(ids, *tokenizer_), special);
  }
  std::vector<int32_t> chat(py::kwargs given) const {
    const auto messages = take<std::vector<std::map<std::string, std::string>>>(given, "messages");
    TextReader reader(*tokenizer_, {.chat_template = take<std::string>(given, "chat_template"),
                                    .special = take<bool>(given, "special"),
                                    .day = Day::Today});
    refuse_rest(given, "chat");
    return attar::encode(*tokenizer_, reader.prompt(to_messages(messages))).ids;
  }
  int64_t vocab_size() const { return tokenizer_->vocab_size(); }
  py::object bos() const { return optional_id(tokenizer_->data().bos); }
  py::object eos() const { return optional_id(tokenizer_->data().eos); }
  std::string kind() const { return tokenizer_->data().kind == TokenizerKind::Bpe ? "BPE" : "SPM"; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
};

class PyModel {
 public:
  explicit PyModel(py::kwargs given) {
    const int threads = take_threads(given);
    const auto path = take<std::string>(given, "model"), numerics = take<std::string>(given, "numerics");
    const Numerics mode = numerics_of(numerics, "numerics");
    const runtime::LoadOptions options = {.numerics = mode,
                                          .kv = kv_format_of(take<std::string>(given, "kv"), "kv", mode)};
    const auto draft = take<std::optional<std::string>>(given, "draft");
    refuse_rest(given, "Model");
    loaded_ = Watch().call([&](const Progress&) {
      auto loaded = std::make_shared<Loaded>(threads, path, options);
      if (draft)
        loaded->draft.emplace(runtime::Model::load(ModelFile::open(*draft), {.numerics = mode}, loaded->pool),
                              loaded->model, loaded->pool);
      return loaded;
    });
  }

  std::unique_ptr<PyStream> stream(py::kwargs given) const {
    const std::vector<std::string> prompts{take<std::string>(given, "prompt")};
    auto file = take<std::string>(given, "prompt_cache");
    Asked asked = asked_of(given, prompts);
    asked.options.draft = loaded_->draft ? &*loaded_->draft : nullptr;
    std::unique_ptr<PyStream> made;
    Watch().call([&](const Progress&) {
      made = std::make_unique<PyStream>(loaded_, std::move(asked.prompts[0]), asked.options, std::move(file));
      return 0;
    });
    return made;
  }

  // The texts that generate() gives for each prompt, many at once.
  std::vector<py::dict> generate_all(py::kwargs given) const {
    const auto prompts = take<std::vector<std::string>>(given, "prompt");
    if (!take<std::string>(given, "prompt_cache").empty()) throw usage_error("prompt_cache", "is of one prompt");
    const Asked asked = asked_of(given, prompts);
    std::vector<std::optional<runtime::Ended>> ended(prompts.size());
    Watch signals;
    signals.call([&](const Progress& progress) {
      const std::lock_guard turn(loaded_->turn);
      runtime::Workspace work(model(), loaded_->pool);
      runtime::BatchEngine engine(model(), work,
                                  {.kept_bytes = 0, .draft = loaded_->draft ? &*loaded_->draft : nullptr});
      for (size_t i = 0; i < prompts.size(); ++i) {
        runtime::BatchRequest request;
        request.prompt = asked.prompts[i];
        request.options = asked.options;
        request.on_end = [&ended, i](const runtime::Ended& end) { ended[i] = end; };
        engine.submit(std::move(request));
      }
      while (engine.step(progress)) report(progress, {.stage = "generate", .unit = "steps"});
      return 0;
    });
    std::vector<py::dict> results;
    for (const std::optional<runtime::Ended>& end : ended) {
      if (end->error) std::rethrow_exception(end->error);
      results.push_back(dict_of(end->text, static_cast<size_t>(end->prompt_tokens), true));
    }
    return results;
  }

  PyTokenizer tokenizer() const { return PyTokenizer(std::shared_ptr<const Tokenizer>(loaded_, &model().tokenizer())); }

  // log p of each token after those before it: (n)
  py::array_t<double> score(const Ids& ids) const {
    const std::vector<int32_t> tokens = checked(ids, model().tokenizer());
    Watch signals;
    const std::vector<double> scores = signals.call([&](const Progress& progress) {
      const std::lock_guard turn(loaded_->turn);
      runtime::Workspace work(model(), loaded_->pool);
      return runtime::score_tokens(model(), tokens, work, progress);
    });
    return py::array_t<double>(static_cast<py::ssize_t>(scores.size()), scores.data());
  }

  // Logits after each token: (n, V)
  py::array_t<float> logits(const Ids& ids) const {
    std::vector<int32_t> tokens = checked(ids, model().tokenizer());
    const auto rows = static_cast<py::ssize_t>(tokens.size()),
               columns = static_cast<py::ssize_t>(model().config().vocab_size);
    if (!tokens.empty()) tokens.push_back(tokens.back());  // so that the last one has a next to predict; never read
    py::array_t<float> out({rows, columns});
    float* values = out.mutable_data();
    const auto copy = [&](const runtime::Prediction& p) {
      std::copy(p.logits.begin(), p.logits.end(), values + p.position * columns);
    };
    Watch signals;
    signals.call([&](const Progress& progress) {
      const std::lock_guard turn(loaded_->turn);
      runtime::Workspace work(model(), loaded_->pool);
      runtime::for_each_logits(model(), tokens, work, copy, progress);
      return 0;
    });
    return out;
  }

  // A vector for each text: (texts, C)
  py::array_t<float> embed(py::kwargs given) const {
    const auto texts = take<std::vector<std::string>>(given, "texts");
    const runtime::EmbedOptions options{
        .pooling = runtime::pooling_of(take<std::string>(given, "pooling")),
        .length = take<bool>(given, "normalize") ? runtime::Length::One : runtime::Length::Own};
    refuse_rest(given, "embed");
    std::vector<std::vector<int32_t>> tokens;
    for (const std::string& text : texts) tokens.push_back(model().tokenizer().encode(text));
    Watch signals;
    const std::vector<float> vectors = signals.call([&](const Progress& progress) {
      const std::lock_guard turn(loaded_->turn);
      runtime::Workspace work(model(), loaded_->pool);
      return runtime::embed(model(), tokens, options, work, progress);
    });
    const py::ssize_t shape[] = {static_cast<py::ssize_t>(texts.size()),
                                 static_cast<py::ssize_t>(model().config().width)};
    return py::array_t<float>(shape, vectors.data());
  }

  py::dict config() const {
    const ModelConfig& c = model().config();
    py::dict out;
    out["family"] = traits(c.family).name, out["vocab_size"] = c.vocab_size, out["width"] = c.width,
    out["layers"] = c.n_layers();
    out["context_length"] = c.context_length, out["parameters"] = c.parameter_count(),
    out["bytes"] = model().file_bytes();
    return out;
  }
  std::vector<std::string> notes() const { return model().notes(); }

 private:
  const runtime::Model& model() const { return loaded_->model; }

  // The tokens of prompts, and how to go on from them.
  struct Asked {
    std::vector<std::vector<int32_t>> prompts;
    runtime::GenerateOptions options;
  };
  Asked asked_of(py::dict& given, const std::vector<std::string>& texts) const {
    const bool chat = take<bool>(given, "chat");
    const auto system = take<std::string>(given, "system");
    TextReader reader(model().tokenizer(), {.chat_template = take<std::string>(given, "chat_template"),
                                            .special = take<bool>(given, "special"),
                                            .day = Day::Today});
    Asked asked{{}, take_options<runtime::GenerateOptions>(given)};
    asked.options.seed = take(given, "seed", asked.options.seed);
    refuse_rest(given, "generate");
    runtime::check(asked.options.sampling);
    asked.options.keeps_to = runtime::grammar_of(asked.options, loaded_->grammars);
    if (asked.options.max_tokens < 0)
      throw usage_error("max_tokens", "is negative", "0 or more", std::to_string(asked.options.max_tokens));
    for (const std::string& text : texts) {
      Prompt prompt{.text = text, .chat = chat};
      if (!system.empty()) prompt.system = system;
      asked.prompts.push_back(reader.prompt_tokens(prompt));
      if (asked.prompts.back().empty()) throw usage_error("prompt", "is empty");
    }
    return asked;
  }

  std::shared_ptr<Loaded> loaded_;
};

std::string verify_call(py::kwargs given) {
  const auto teacher = take<std::string>(given, "teacher"), student = take<std::string>(given, "student");
  const auto data = take<std::vector<std::string>>(given, "data");
  const auto gates = take<std::map<std::string, double>>(given, "gates");
  const bool bench = take<bool>(given, "bench");
  const int threads = take_threads(given);
  Watch watch = take_watch(given);
  auto options = take_options<runtime::VerifyOptions>(given);
  refuse_rest(given, "verify");
  runtime::check_gates(gates, options, bench);
  options.tasks = text_paths(options.tasks);  // what is not there is said before anything is scored
  const std::string program = runtime_program();
  return watch.call([&](const Progress& progress) {
    const std::vector<Document> text = read_all_documents(data);
    const ModelFile a = ModelFile::open(teacher), b = ModelFile::open(student);
    if (options.context == runtime::VerifyOptions().context)  // nobody asked for it
      options.context = std::min({options.context, a.config().context_length, b.config().context_length});
    ThreadPool pool(threads);
    runtime::VerifyResults results = runtime::verify(a, b, text, options, pool, progress);
    results.tasks = runtime::verify_on_tasks(a, b, options, pool, progress);
    runtime::Speeds speeds;
    if (bench) speeds = runtime::measure_both(program, teacher, student, options.kv.value_or(""), threads, progress);
    return runtime::verify_document(results, speeds,
                                    runtime::judge(gates, results, speeds.teacher, speeds.student, b.size_bytes()));
  });
}

std::string eval_call(py::kwargs given) {
  const auto model = take<std::string>(given, "model"), file = take<std::string>(given, "file");
  const auto data = take<std::vector<std::string>>(given, "data");
  const int threads = take_threads(given);
  Watch watch = take_watch(given);
  const auto options = take_options<runtime::EvalOptions>(given);
  refuse_rest(given, "evaluate");
  runtime::check_evaluation(data, options);
  return watch.call([&](const Progress& progress) {
    ThreadPool pool(threads);
    return runtime::eval_document(model, ModelFile::open(file), data, options, pool, progress);
  });
}

std::string inspect_call(py::kwargs given) {
  const auto model = take<std::string>(given, "model");
  refuse_rest(given, "inspect");
  return Watch().call([&](const Progress&) { return runtime::inspect_document(ModelFile::open(model)); });
}

py::dict fields() {
  py::dict of;
  of["generate"] = fields_of<runtime::GenerateOptions>();
  of["evaluate"] = fields_of<runtime::EvalOptions>();
  of["verify"] = fields_of<runtime::VerifyOptions>();
  return of;
}

}  // namespace
}  // namespace attar::python

PYBIND11_MODULE(_runtime, module) {
  using namespace attar::python;
  register_error(module);
  py::class_<PyTokenizer>(module, "Tokenizer")
      .def(py::init(&PyTokenizer::open))
      .def("encode", &PyTokenizer::encode)
      .def("decode", &PyTokenizer::decode)
      .def("chat", &PyTokenizer::chat)
      .def_property_readonly("vocab_size", &PyTokenizer::vocab_size)
      .def_property_readonly("bos", &PyTokenizer::bos)
      .def_property_readonly("eos", &PyTokenizer::eos)
      .def_property_readonly("kind", &PyTokenizer::kind);
  py::class_<PyStream>(module, "Stream")
      .def("next", &PyStream::next)
      .def("finish", &PyStream::finish)
      .def("result", &PyStream::result);
  py::class_<PyModel>(module, "Model")
      .def(py::init<py::kwargs>())
      .def("stream", &PyModel::stream)
      .def("generate_all", &PyModel::generate_all)
      .def("tokenizer", &PyModel::tokenizer)
      .def("score", &PyModel::score)
      .def("logits", &PyModel::logits)
      .def("embed", &PyModel::embed)
      .def("config", &PyModel::config)
      .def("notes", &PyModel::notes);
  module.def("verify", verify_call);
  module.def("evaluate", eval_call);
  module.def("doctor", [] { return attar::runtime::doctor_document(runtime_program()); });
  module.def("inspect", inspect_call);
  module.def("nearest", attar::nearest);  // did you mean
  module.def("fields", fields);
}
