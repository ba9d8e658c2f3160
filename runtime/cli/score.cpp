// score and tokenize: one JSON line a document, or with --json all in one.
#include "runtime/judge/score.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/model_text.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model;
  std::vector<std::string> data;
  std::string numerics = "fp32";
  std::string chat_template;
  bool special = false;
  bool chat = false;  // a plain text is a user's message, and the assistant is to answer
};

void add_shared(CLI::App& command, Options& options) {
  add_model(command, options.model);
  add_texts(command, "--data", options.data, "text: .txt or .jsonl, also .gz; may be given several times");
  require(command, "--data");
  add_chat_template(command, options.chat_template);
  add_special(command, options.special);
}

TextReader reader_of(const Options& options, const Tokenizer& tokenizer) {
  return TextReader(tokenizer, {.chat_template = options.chat_template, .special = options.special});
}

// A line a document as each is done; with --json one document of all at the end.
class Output {
 public:
  explicit Output(bool one_document) : one_document_(one_document) {}

  // `line` is what a line shows of the entry.
  void add(Json entry, const Json& line) {
    if (one_document_) {
      entries_.push_back(std::move(entry));
      return;
    }
    std::printf("%s\n", line.dump().c_str());
    check_output();
  }
  void finish() const {
    if (one_document_) std::printf("%s\n", Json{{"schema_version", 1}, {"documents", entries_}}.dump().c_str());
  }

 private:
  bool one_document_;
  Json entries_ = Json::array();
};

int run_tokenize(const Options& options, const GlobalOptions& global) {
  const std::vector<Document> documents = read_all_documents(options.data);
  const ModelFile file = ModelFile::open(options.model, global.hub);
  const Tokenizer tokenizer(file.tokenizer());
  show_notes(file.notes(), global);
  TextReader reader = reader_of(options, tokenizer);
  Output output(global.json);
  for (const Document& document : documents) {
    const bool asks = options.chat && !document.is_chat();
    const Json tokens = asks ? reader.prompt_tokens({.text = document.text, .chat = true})
                             : encode(tokenizer, reader.whole(document)).ids;
    output.add({{"tokens", tokens}}, tokens);
  }
  output.finish();
  show_notes(reader.notes(), global);
  return 0;
}

// The tokens of every document, all of which fit: a long run does not fail at its last document.
std::vector<std::vector<int32_t>> tokens_of(const runtime::Model& model, TextReader& reader,
                                            const std::vector<Document>& documents) {
  std::vector<std::vector<int32_t>> all;
  for (const Document& document : documents) {
    all.push_back(encode(model.tokenizer(), reader.whole(document)).ids);
    if (static_cast<int64_t>(all.back().size()) > model.config().context_length)
      throw input_error(document.where,
                        "document " + std::to_string(all.size()) + " is longer than the model's context",
                        "at most " + std::to_string(model.config().context_length) + " tokens",
                        std::to_string(all.back().size()), "split it into documents");
  }
  return all;
}

int run_score(const Options& options, const GlobalOptions& global) {
  const Numerics numerics = numerics_of(options.numerics, "--numerics");
  const std::vector<Document> documents = read_all_documents(options.data);
  ThreadPool pool(global.thread_count());
  const runtime::Model model =
      runtime::Model::load(ModelFile::open(options.model, global.hub), {.numerics = numerics}, pool);
  show_notes(model.notes(), global);
  runtime::Workspace work(model, pool);
  TextReader reader = reader_of(options, model.tokenizer());
  const std::vector<std::vector<int32_t>> all = tokens_of(model, reader, documents);
  show_notes(reader.notes(), global);
  const Progress progress = terminal_progress(global);
  Event now{.stage = "score", .unit = "tokens"};
  for (const std::vector<int32_t>& tokens : all) now.total += static_cast<int64_t>(tokens.size());
  Output output(global.json);
  int64_t before = 0;
  for (const std::vector<int32_t>& tokens : all) {
    const Progress within = [&](const Event& event) {
      now.done = before + event.done;
      return progress(now);
    };
    Json logprobs = Json::array();
    for (const double score : runtime::score_tokens(model, tokens, work, within))
      logprobs.push_back(std::isnan(score) ? Json(nullptr) : Json(score));
    const Json entry = {{"tokens", tokens}, {"logprobs", logprobs}};
    output.add(entry, entry);
    now.done = before += static_cast<int64_t>(tokens.size());
    report(progress, now);
  }
  output.finish();
  return 0;
}

}  // namespace

Action add_tokenize(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  add_switch(command, "--chat", options->chat,
             "put a plain text into the chat template as a user's message, up to where the answer begins");
  return [options, &global] { return run_tokenize(*options, global); };
}

Action add_score(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  add_text(command, "--numerics", options->numerics, "fp32 or deployed");
  return [options, &global] { return run_score(*options, global); };
}

}  // namespace attar::cli
