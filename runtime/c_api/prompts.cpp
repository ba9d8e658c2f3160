#include "runtime/c_api/prompts.h"

#include <span>

#include "runtime/formats/model_text.h"

namespace attar::c_api {
namespace {

constexpr size_t kFirstPromptBytes = offsetof(attar_prompt, special) + sizeof(int);

attar_prompt checked(const attar_prompt* from) {
  const attar_prompt prompt = complete("prompt", given(from, "prompt"), attar_prompt{}, kFirstPromptBytes);
  if ((prompt.text != nullptr) + (prompt.messages != nullptr) + (prompt.tokens != nullptr) != 1)
    throw usage_error("prompt", "is not one of three", "text, messages or tokens, the others NULL");
  if (prompt.messages != nullptr && prompt.n_messages == 0) throw usage_error("messages", "are none", "at least one");
  return prompt;
}

std::string text_or(const char* text, const char* otherwise = "") {
  return text != nullptr ? text : otherwise;
}

Document document_of(const attar_prompt& prompt) {
  Document document{.tools = text_or(prompt.tools), .where = "a message"};
  if (prompt.text != nullptr)
    document.text.assign(prompt.text, prompt.text_bytes > 0 ? prompt.text_bytes : std::strlen(prompt.text));
  for (size_t i = 0; i < prompt.n_messages && prompt.messages != nullptr; ++i) {
    const attar_message& message = prompt.messages[i];
    document.messages.push_back(
        {.role = given(message.role, "a message's role"),
         .content = message.json != nullptr ? text_or(message.content) : given(message.content, "a message's content"),
         .json = text_or(message.json)});
  }
  return document;
}

// What the model reads of a text or a chat.
ModelText text_of(Engine& engine, const attar_prompt& prompt) {
  const Document document = document_of(prompt);
  TextReader reader(
      engine.model.tokenizer(),
      {.chat_template = text_or(prompt.chat_template), .special = prompt.special != 0, .day = Day::Today});
  ModelText text = document.is_chat() && prompt.complete == 0 ? reader.prompt(document.messages, document.tools)
                                                              : reader.whole(document);
  for (const std::string& note : reader.notes()) engine.note(note);
  return text;
}

}  // namespace

std::vector<int32_t> tokens_of(Engine& engine, const attar_prompt* from) {
  const attar_prompt prompt = checked(from);
  if (prompt.tokens != nullptr) {
    std::vector<int32_t> tokens(prompt.tokens, prompt.tokens + prompt.n_tokens);
    runtime::check_tokens(engine.model, tokens);
    return tokens;
  }
  std::vector<int32_t> tokens = encode(engine.model.tokenizer(), text_of(engine, prompt)).ids;
  const int32_t bos = engine.model.tokenizer().data().bos;
  if (tokens.empty() && bos >= 0) tokens.push_back(bos);  // an empty text is something to go on from too
  return tokens;
}

std::vector<std::vector<int32_t>> tokens_of(Engine& engine, const attar_prompt* prompts, size_t n) {
  std::vector<std::vector<int32_t>> all;
  const auto* at = reinterpret_cast<const std::byte*>(prompts);
  for (size_t i = 0; i < n; ++i) {
    const auto* prompt = reinterpret_cast<const attar_prompt*>(at);
    all.push_back(tokens_of(engine, prompt));
    at += prompt->size_bytes;  // the caller's prompts may be smaller than this library's
  }
  return all;
}

}  // namespace attar::c_api

using namespace attar::c_api;

extern "C" {

int64_t attar_tokenize(const attar_model* model, const attar_prompt* prompt, int32_t* tokens, int64_t capacity) {
  int64_t n = -1;
  code_of([&] { n = copy_out(tokens_of(*models().at(model), prompt), tokens, capacity); });
  return n;
}

int64_t attar_detokenize(const attar_model* model, const int32_t* tokens, size_t n_tokens, int special, char* text,
                         int64_t capacity) {
  int64_t n = -1;
  code_of([&] {
    const auto engine = models().at(model);
    const std::span ids(n_tokens > 0 ? given(tokens, "tokens") : tokens, n_tokens);
    attar::runtime::check_tokens(engine->model, ids);
    n = write_text(engine->model.tokenizer().decode(ids, special != 0), text, capacity);
  });
  return n;
}

int64_t attar_render(const attar_model* model, const attar_prompt* prompt, char* text, int64_t capacity) {
  int64_t n = -1;
  code_of([&] {
    const attar_prompt asked = checked(prompt);
    given(asked.messages, "messages");
    n = write_text(text_of(*models().at(model), asked).text, text, capacity);
  });
  return n;
}

}  // extern "C"
