// score: a table of tokens; tokenize: token ids; embed: vectors. Each as JSON, a line a document or all in one.
#include "runtime/judge/score.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/host/freed_memory.h"
#include "runtime/base/words/utf8.h"
#include "runtime/cli/flags.h"
#include "runtime/cli/terminal/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/model_text.h"
#include "runtime/text/embed.h"

namespace attar::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model;
  std::vector<std::string> data;
  std::string numerics = "fp32", kv;
  std::string pooling = "mean";
  std::string chat_template;
  bool special = false;
  bool lines = false;       // JSON, a line a document
  bool own_length = false;  // of vectors
  bool chat = false;        // a plain text is a user's message, and the assistant is to answer
};

void add_shared(CLI::App& command, Options& options) {
  add_model(command, options.model);
  add_data(command, options.data, "text, - for standard input");
  require(command, "--data");
  add_chat_template(command, options.chat_template);
  add_special(command, options.special);
}

TextReader reader_of(const Options& options, const Tokenizer& tokenizer) {
  return TextReader(tokenizer, {.chat_template = options.chat_template, .special = options.special});
}

// A line of JSON a document as each is done; with --json one document of all at the end.
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

runtime::LoadOptions load_options(const Options& options) {
  const Numerics numerics = numerics_of(options.numerics, "--numerics");
  return {.numerics = numerics, .kv = kv_format_of(options.kv, "--kv", numerics)};
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

Json logprobs_json(const std::vector<double>& scores) {
  Json out = Json::array();
  for (const double score : scores) out.push_back(std::isnan(score) ? Json(nullptr) : Json(score));
  return out;
}

// A row a token: its id, the natural log of its probability after those before it, and its text.
void print_table(const std::string& where, const Tokenizer& tokenizer, const std::vector<int32_t>& tokens,
                 const std::vector<double>& scores) {
  double sum = 0.0;
  int64_t scored = 0;
  for (const double score : scores)
    if (!std::isnan(score)) sum += score, ++scored;
  std::printf("%s: %zu tokens", visible(where).c_str(), tokens.size());
  if (scored > 0)
    std::printf(", log p %.3f in all, %.4f a token, perplexity %.4g", sum, sum / static_cast<double>(scored),
                std::exp(-sum / static_cast<double>(scored)));
  std::printf("\n%8s %10s  %s\n", "id", "log p", "token");
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string text = visible(tokenizer.token_bytes(tokens[i]));
    if (std::isnan(scores[i]))
      std::printf("%8d %10s  \"%s\"\n", tokens[i], "", text.c_str());
    else
      std::printf("%8d %10.4f  \"%s\"\n", tokens[i], scores[i], text.c_str());
  }
  std::printf("\n");
  check_output();
}

// A model and the texts that it is asked about.
struct Asked {
  std::vector<Document> documents;
  ThreadPool pool;
  runtime::Model model;
  runtime::Workspace work;
  std::vector<std::vector<int32_t>> tokens;  // of each document

  Asked(const Options& options, const GlobalOptions& global)
      : documents(read_all_documents(options.data)),
        pool(global.thread_count()),
        model(runtime::Model::load(ModelFile::open(options.model, global.hub), load_options(options), pool)),
        work(model, pool) {
    give_back_freed_memory();
    show_notes(model.notes(), global);
    TextReader reader = reader_of(options, model.tokenizer());
    tokens = tokens_of(model, reader, documents);
    show_notes(reader.notes(), global);
  }
};

int run_score(const Options& options, const GlobalOptions& global) {
  Asked asked(options, global);
  const std::vector<std::vector<int32_t>>& all = asked.tokens;
  const Progress progress = terminal_progress(global);
  Event now{.stage = "score", .unit = "tokens"};
  for (const std::vector<int32_t>& tokens : all) now.total += static_cast<int64_t>(tokens.size());
  Output output(global.json);
  int64_t before = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::vector<int32_t>& tokens = all[i];
    const Progress within = [&](const Event& event) {
      now.done = before + event.done;
      return progress(now);
    };
    const std::vector<double> scores = runtime::score_tokens(asked.model, tokens, asked.work, within);
    if (global.json || options.lines) {
      const Json entry = {{"tokens", tokens}, {"logprobs", logprobs_json(scores)}};
      output.add(entry, entry);
    } else {
      print_table(asked.documents[i].where, asked.model.tokenizer(), tokens, scores);
    }
    now.done = before += static_cast<int64_t>(tokens.size());
    report(progress, now);
  }
  output.finish();
  return 0;
}

// A vector as its numbers are: the shortest decimals that are those floats.
Json vector_json(std::span<const float> vector) {
  Json out = Json::array();
  for (const float value : vector) out.push_back(shortest_decimal(static_cast<double>(value)));
  return out;
}

int run_embed(const Options& options, const GlobalOptions& global) {
  const runtime::EmbedOptions how{.pooling = runtime::pooling_of(options.pooling),
                                  .length = options.own_length ? runtime::Length::Own : runtime::Length::One};
  Asked asked(options, global);
  const std::vector<std::vector<int32_t>>& all = asked.tokens;
  const std::vector<float> vectors = runtime::embed(asked.model, all, how, asked.work, terminal_progress(global));
  const auto width = static_cast<size_t>(asked.model.config().width);
  Output output(global.json);
  for (size_t i = 0; i < all.size(); ++i) {
    const Json vector = vector_json(std::span(vectors).subspan(i * width, width));
    output.add({{"tokens", all[i].size()}, {"embedding", vector}}, vector);
  }
  output.finish();
  return 0;
}

}  // namespace

Action add_embed(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  options->numerics = "deployed";
  add_shared(command, *options);
  add_text(command, "--pooling", options->pooling,
           "mean: of the last hidden states of all tokens; last: that of the last token");
  add_switch(command, "--own-length", options->own_length, "vectors as they are, not scaled to length 1");
  add_numerics(command, options->numerics);
  add_kv(command, options->kv);
  return [options, &global] { return run_embed(*options, global); };
}

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
  add_numerics(command, options->numerics);
  add_kv(command, options->kv);
  add_switch(command, "--jsonl", options->lines, "a line of JSON a document, as each is done, in place of a table");
  return [options, &global] { return run_score(*options, global); };
}

}  // namespace attar::cli
