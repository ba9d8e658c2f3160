#include "runtime/formats/tokenizer/end_tokens.h"

#include <algorithm>
#include <span>

namespace attar {
namespace {

constexpr std::string_view kStrikeOut = "</s>";  // also HTML, which some vocabularies hold as user-defined tokens
constexpr std::string_view kReplyEnds[] = {
    kStrikeOut,
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",  // gpt-oss
    "<|call|>",
    "<|flush|>",  // Solar
    "<|calls|>",
    "<|endoftext|>",
    "<|end_of_text|>",  // Llama 3, Granite
    "<end_of_turn>",    // Gemma
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<EOT>",  // Code Llama
    "_<EOT>",
    "\u2581<EOT>",
    "[EOT]",  // Kimi
    "[EOS]",
    "<end_of_utterance>",                       // SmolVLM
    "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",  // DeepSeek
    "[e~[",                                     // MiniMax
};
// Where no text is to be filled in, code models end with these.
constexpr std::string_view kCodeEnds[] = {"<|fim_pad|>", "<fim-pad>",     "<fim_pad>",   "<PAD>",
                                          "[PAD]",       "<|fim_repo|>",  "<fim-repo>",  "<REPO>",
                                          "<reponame>",  "<|repo_name|>", "<|file_sep|>"};

bool is_in(std::span<const std::string_view> texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

bool is_end_text(const Token& token, EndTexts texts) {
  if (token.kind != TokenKind::Control && (token.kind != TokenKind::UserDefined || token.text == kStrikeOut))
    return false;
  return is_in(kReplyEnds, token.text) || (texts == EndTexts::OfRepliesAndCode && is_in(kCodeEnds, token.text));
}

}  // namespace

std::vector<int32_t> ends_by_text(const TokenizerData& data, EndTexts texts) {
  std::vector<int32_t> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (is_end_text(data.tokens[id], texts)) ids.push_back(static_cast<int32_t>(id));
  const auto has = [&](std::string_view text) {
    return std::any_of(ids.begin(), ids.end(),
                       [&](int32_t id) { return data.tokens[static_cast<size_t>(id)].text == text; });
  };
  const auto drop = [&](std::string_view text) {
    std::erase_if(ids, [&](int32_t id) { return data.tokens[static_cast<size_t>(id)].text == text; });
  };
  // In these vocabularies <|end|> closes one of several parts of a reply, and </s> is plain text.
  const bool calls = has("<|call|>") || has("<|calls|>");
  if (calls && (has("<|return|>") || has("<|flush|>"))) drop("<|end|>");
  if (has("<|tool_response>")) drop(kStrikeOut);
  return ids;
}

std::vector<uint8_t> end_flags(const TokenizerData& data) {
  std::vector<uint8_t> flags(data.tokens.size(), 0);
  const auto set = [&](int32_t id) {
    if (id >= 0) flags[static_cast<size_t>(id)] = 1;
  };
  for (const int32_t id : ends_by_text(data, EndTexts::OfRepliesAndCode)) set(id);
  for (const int32_t id : data.end_of_generation) set(id);
  set(data.eos), set(data.eot);
  for (const RoleName& name : kRoleNames)
    if (name.ends_reply) set(token_of(data, name.role));
  return flags;
}

}  // namespace attar
