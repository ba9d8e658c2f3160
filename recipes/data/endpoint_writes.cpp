#include "recipes/data/endpoint_writes.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "recipes/data/answer_document.h"
#include "recipes/data/word_shingles.h"
#include "recipes/endpoint/answers.h"
#include "runtime/base/random.h"

namespace attar {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kAlike = 0.8;  // Jaccard similarity of word runs, as `deduplicate` has it

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

Document with_system(Document prompt, const std::string& system) {
  const auto has_one = [](const ChatMessage& message) {
    return message.role == "system" || message.role == "developer";
  };
  if (prompt.is_chat() && !system.empty() && std::none_of(prompt.messages.begin(), prompt.messages.end(), has_one))
    prompt.messages.insert(prompt.messages.begin(), {"system", system});
  return prompt;
}

Json messages_of(const Document& prompt) {
  Json messages = Json::array();
  for (const ChatMessage& message : prompt.messages)
    messages.push_back(message.json.empty() ? Json({{"role", message.role}, {"content", message.content}})
                                            : Json::parse(message.json));
  return messages;
}

EndpointRequest request_for(const Document& prompt, int64_t sample, const EndpointWrites& options, int64_t seed) {
  Json body = {{"model", options.model}};
  if (prompt.is_chat()) {
    body["messages"] = messages_of(prompt);
    if (!prompt.tools.empty()) body["tools"] = Json::parse(prompt.tools);
  } else {
    body["prompt"] = prompt.text;
  }
  body["max_tokens"] = options.max_tokens;
  body["temperature"] = options.temperature;
  body["top_p"] = options.top_p;
  if (options.send_seed)
    body["seed"] = CounterRandom(static_cast<uint64_t>(seed)).bits(static_cast<uint64_t>(sample)) >> 33;
  if (options.top_logprobs > 0 && prompt.is_chat())
    body["logprobs"] = true, body["top_logprobs"] = options.top_logprobs;
  if (options.top_logprobs > 0 && !prompt.is_chat()) body["logprobs"] = options.top_logprobs;
  return {without_slash(options.url) + (prompt.is_chat() ? "/chat/completions" : "/completions"), body.dump(), sample,
          prompt.where};
}

// Of each prompt how many before it are the same: its samples are others than theirs.
std::vector<int64_t> copies_before(const std::vector<Document>& asked, const EndpointWrites& options) {
  std::map<std::string, int64_t> seen;
  std::vector<int64_t> before;
  for (const Document& prompt : asked) before.push_back(seen[request_for(prompt, 0, options, 0).body]++);
  return before;
}

// The answers to one prompt so far.
class Told {
 public:
  bool has(const std::string& text) const {
    const std::vector<uint64_t> shingles = word_shingles(text);
    return std::any_of(told_.begin(), told_.end(),
                       [&](const One& one) { return one.text == text || jaccard(one.shingles, shingles) >= kAlike; });
  }
  void add(const std::string& text) { told_.push_back({text, word_shingles(text)}); }
  void clear() { told_.clear(); }

 private:
  struct One {
    std::string text;
    std::vector<uint64_t> shingles;
  };
  std::vector<One> told_;
};

std::string count_of(int64_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

// A key that others on the way can read.
bool shows_its_key(const EndpointWrites& options) {
  const std::string clear = "http://";
  if (options.key.empty() || !options.url.starts_with(clear)) return false;
  const std::string address = options.url.substr(clear.size());
  const std::string host = address.substr(0, address.find_first_of(":/", address.find(']') + 1));  // [IPv6] has colons
  const bool is_own_address = host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
  return !is_own_address && host != "localhost" && host != "[::1]";
}

// Whoever is silent about all tokens gave no signal.
void settle_signal(TokenDataset& dataset, const EndpointRecord& record) {
  if (record.signalled_tokens > 0) return;
  dataset.signal_k = 0;
  for (TokenDocument& document : dataset.documents) document.signal_ids.clear(), document.signal_log_probs.clear();
}

}  // namespace

TokenDataset write_with_endpoint(const Tokenizer& tokenizer, const TeacherPrompts& prompts,
                                 const EndpointWrites& options, int64_t seed, const std::string& cache,
                                 EndpointRecord& record, const Progress& progress) {
  std::vector<Document> asked;
  for (const Document& prompt : prompts.documents) asked.push_back(with_system(prompt, options.system));
  TextReader reader(tokenizer, {.chat_template = prompts.chat_template});
  const TokensByText tokens(tokenizer);
  TokenDataset dataset = dataset_of(tokenizer);
  dataset.signal_k = options.top_logprobs > 0 ? options.top_logprobs + 1 : 0;  // the token that came, and others
  record = {.url = options.url,
            .model = options.model,
            .prompts = options.prompts,
            .budget_tokens = options.tokens,
            .wants_signal = options.top_logprobs > 0};
  const auto samples = static_cast<size_t>(options.samples);
  const std::vector<int64_t> before = copies_before(asked, options);
  Told told;
  const auto take = [&](size_t index, const std::string& choice) -> int64_t {
    const Document& prompt = asked[index / samples];
    if (index % samples == 0) told.clear(), ++record.asked_prompts;
    const Answer answer = answer_of(choice, options.url);
    ++record.answers;
    if (answer.text.find_first_not_of(" \t\r\n") == std::string::npos) return ++record.wordless, ++record.tokens, 1;
    TokenDocument document = answer_document(prompt, answer, tokenizer, reader, tokens, dataset.signal_k);
    const int64_t written = std::count(document.in_loss.begin(), document.in_loss.end(), uint8_t{1});
    record.tokens += written;
    if (told.has(answer.text)) return ++record.duplicates, written;
    told.add(answer.text);
    record.cut += answer.ended ? 0 : 1;
    record.loss_tokens += written;
    if (dataset.signal_k > 0) record.signalled_tokens += signalled_tokens(document, dataset.signal_k);
    dataset.documents.push_back(std::move(document));
    return written;
  };
  if (const std::string clear = options.url + ": the key goes there unencrypted"; shows_its_key(options))
    report(progress, {.stage = "data", .unit = "tokens", .total = options.tokens, .message = clear});
  Endpoint endpoint({.key_variable = options.key,
                     .timeout_s = options.timeout_s,
                     .requests_per_minute = options.requests_per_minute});
  const Asking asking{.requests = asked.size() * samples,
                      .request =
                          [&](size_t index) {
                            const size_t prompt = index / samples;
                            const int64_t sample =
                                before[prompt] * options.samples + static_cast<int64_t>(index % samples);
                            return request_for(asked[prompt], sample, options, seed);
                          },
                      .take = take,
                      .concurrency = options.concurrency,
                      .budget_tokens = options.tokens,
                      .answer_tokens = options.max_tokens};
  const AskedCounts counts = ask_in_order(endpoint, AnswerCache(cache), asking, progress);
  const std::string detail = options.url + ": " + std::to_string(counts.asked) + " answers, and " +
                             std::to_string(counts.kept) + " that were kept from before";
  report(progress,
         {.stage = "data", .unit = "tokens", .done = record.tokens, .total = options.tokens, .detail = detail});
  settle_signal(dataset, record);
  return dataset;
}

std::string endpoint_record(const EndpointRecord& r) {
  Json json = {{"url", r.url},
               {"model", r.model},
               {"prompts", r.prompts},
               {"asked_prompts", r.asked_prompts},
               {"answers", r.answers},
               {"duplicates", r.duplicates},
               {"wordless", r.wordless},
               {"cut", r.cut},
               {"tokens", r.tokens},
               {"budget_tokens", r.budget_tokens},
               {"loss_tokens", r.loss_tokens}};
  if (r.wants_signal) json["signalled_tokens"] = r.signalled_tokens;
  return json.dump();
}

EndpointRecord endpoint_record_of(const std::string& record) {
  const Json json = Json::parse(record);
  return {.url = json.at("url"),
          .model = json.at("model"),
          .prompts = json.at("prompts"),
          .asked_prompts = json.at("asked_prompts"),
          .answers = json.at("answers"),
          .duplicates = json.at("duplicates"),
          .wordless = json.at("wordless"),
          .cut = json.at("cut"),
          .tokens = json.at("tokens"),
          .budget_tokens = json.at("budget_tokens"),
          .loss_tokens = json.at("loss_tokens"),
          .signalled_tokens = json.value("signalled_tokens", int64_t{0}),
          .wants_signal = json.contains("signalled_tokens")};
}

std::vector<std::string> notes_of(const EndpointRecord& r) {
  std::string line = r.model + " at " + r.url + " gave " + count_of(r.answers, "answer", "answers") + " to " +
                     count_of(r.asked_prompts, "prompt", "prompts");
  if (r.duplicates > 0) line += "; " + std::to_string(r.duplicates) + " that nearly repeat another one were dropped";
  if (r.wordless > 0) line += "; " + std::to_string(r.wordless) + " without words were dropped";
  if (r.cut > 0) line += "; " + std::to_string(r.cut) + " are cut at max_tokens";
  std::vector<std::string> notes{line};
  if (r.tokens < r.budget_tokens)
    notes.push_back("all prompts are answered: " + std::to_string(r.tokens) + " of " + std::to_string(r.budget_tokens) +
                    " tokens");
  if (r.wants_signal && r.signalled_tokens > 0)
    notes.push_back("the endpoint's probabilities are a signal for " + std::to_string(r.signalled_tokens) + " of " +
                    count_of(r.loss_tokens, "token", "tokens") + "; at the others its tokens are not the teacher's");
  else if (r.wants_signal)
    notes.emplace_back(
        "the endpoint gave no probability of a token that is the teacher's too: its answers are text, which "
        "cross_entropy learns");
  return notes;
}

}  // namespace attar
