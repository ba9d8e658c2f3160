#include "recipes/endpoint/answer.h"

#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

namespace attar {
namespace {

using Json = nlohmann::json;

// "bytes" say what "token" cannot, which is text: half a character.
std::string bytes_of(const Json& token) {
  const auto bytes = token.find("bytes");
  if (bytes == token.end() || !bytes->is_array()) return token.at("token").get<std::string>();
  std::string out;
  for (const Json& byte : *bytes) out += static_cast<char>(byte.get<int>());
  return out;
}

TokenChance chance_of(const Json& token) {
  return {bytes_of(token), token.at("logprob").get<double>()};
}

// {"content": [{"token", "bytes", "logprob", "top_logprobs": [...]}]}
std::vector<AnswerToken> tokens_of_chat(const Json& content) {
  std::vector<AnswerToken> tokens;
  for (const Json& token : content) {
    AnswerToken& out = tokens.emplace_back(AnswerToken{chance_of(token)});
    if (const auto top = token.find("top_logprobs"); top != token.end() && top->is_array())
      for (const Json& other : *top) out.likeliest.push_back(chance_of(other));
  }
  return tokens;
}

// {"tokens": [...], "token_logprobs": [...], "top_logprobs": [{token: logprob}, ...]}
std::vector<AnswerToken> tokens_of_text(const Json& log_probs) {
  std::vector<AnswerToken> tokens;
  const Json& texts = log_probs.at("tokens");
  const Json none, &top = log_probs.contains("top_logprobs") ? log_probs.at("top_logprobs") : none;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Json& own = log_probs.at("token_logprobs").at(i);
    if (own.is_null()) return {};  // of an echoed prompt, which nobody asked for
    AnswerToken& out = tokens.emplace_back(AnswerToken{{texts.at(i).get<std::string>(), own.get<double>()}});
    if (top.is_array() && i < top.size() && top.at(i).is_object())
      for (const auto& [text, value] : top.at(i).items()) out.likeliest.push_back({text, value.get<double>()});
  }
  return tokens;
}

// A text, or a list of parts some of which are text; null where there are no words.
std::string words_of(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string words;
  if (content.is_array())
    for (const Json& part : content) words += part.value("text", "");
  return words;
}

// "stop", and what some servers call it ("eos_token", ...).
bool has_ended(const Json& reason) {
  return reason.is_string() && reason != "length" && reason != "max_tokens" && reason != "content_filter";
}

}  // namespace

Answer answer_of(const std::string& choice, const std::string& where) {
  try {
    const Json json = Json::parse(choice);
    Answer answer;
    answer.text = words_of(json.contains("message") ? json.at("message").value("content", Json()) : json.at("text"));
    answer.ended = has_ended(json.value("finish_reason", Json()));
    const Json log_probs = json.value("logprobs", Json());
    if (!log_probs.is_object()) return answer;
    if (const auto content = log_probs.find("content"); content != log_probs.end() && content->is_array())
      answer.tokens = tokens_of_chat(*content);
    else if (log_probs.contains("tokens") && log_probs.at("tokens").is_array())
      answer.tokens = tokens_of_text(log_probs);
    return answer;
  } catch (const Json::exception&) {
    throw input_error(where, "is no answer of a model", "`message` or `text`, and `logprobs` as OpenAI's API has them",
                      printable(choice, 160));
  }
}

}  // namespace attar
