// score and tokenize: one JSON line a document.
#include "runtime/score.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verbs.h"
#include "runtime/formats/text_file.h"

namespace attar::cli {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> data;
  std::string numerics = "fp32";
};

void add_shared(CLI::App& command, Options& options) {
  command.add_option("MODEL", options.model, "a GGUF file, a Hugging Face directory or pip:PACKAGE")->required();
  command.add_option("--data", options.data, "text: .txt or .jsonl, also .gz")->required();
}

std::vector<Document> documents_of(const Options& options) {
  std::vector<Document> documents;
  for (const std::string& path : options.data)
    for (Document& document : read_documents(path)) documents.push_back(std::move(document));
  return documents;
}

int run_tokenize(const Options& options) {
  const std::vector<Document> documents = documents_of(options);
  const Tokenizer tokenizer(ModelFile::open(options.model).tokenizer());
  for (const Document& document : documents) {
    std::printf("%s\n", nlohmann::ordered_json(tokenizer.encode(document_text(document))).dump().c_str());
    check_output();
  }
  return 0;
}

int run_score(const Options& options, const GlobalOptions& global) {
  if (options.numerics != "fp32" && options.numerics != "deployed")
    throw usage_error("--numerics", "is unknown", "fp32 or deployed", printable(options.numerics));
  const std::vector<Document> documents = documents_of(options);
  ThreadPool pool(global.thread_count());
  const runtime::Model model = runtime::Model::load(
      ModelFile::open(options.model),
      {.numerics = options.numerics == "fp32" ? runtime::Numerics::Fp32 : runtime::Numerics::Deployed}, pool);
  runtime::Workspace work(model, pool);
  const Progress progress = terminal_progress(global);
  int64_t done = 0;
  for (const Document& document : documents) {
    const std::vector<int32_t> tokens = model.tokenizer().encode(document_text(document));
    if (static_cast<int64_t>(tokens.size()) > model.config().context_length)
      throw input_error(document.where, "is longer than the model's context",
                        std::to_string(model.config().context_length) + " tokens", std::to_string(tokens.size()),
                        "split it into documents");
    nlohmann::ordered_json logprobs = nlohmann::ordered_json::array();
    for (const double score : runtime::score_tokens(model, tokens, work))
      logprobs.push_back(std::isnan(score) ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(score));
    std::printf("%s\n", nlohmann::ordered_json({{"tokens", tokens}, {"logprobs", logprobs}}).dump().c_str());
    report(progress,
           {.stage = "score", .unit = "documents", .done = ++done, .total = static_cast<int64_t>(documents.size())});
  }
  return 0;
}

}  // namespace

Action add_tokenize(CLI::App& command, const GlobalOptions&) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  return [options] { return run_tokenize(*options); };
}

Action add_score(CLI::App& command, const GlobalOptions& global) {
  const auto options = std::make_shared<Options>();
  add_shared(command, *options);
  command.add_option("--numerics", options->numerics, "fp32 or deployed")->capture_default_str();
  return [options, &global] { return run_score(*options, global); };
}

}  // namespace attar::cli
