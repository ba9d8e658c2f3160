#include "runtime/formats/jinja/known_templates.h"

#include <algorithm>

namespace attar {
namespace {

constexpr KnownTemplate kTemplates[] = {
    {"chatml", "<|im_start|> <|im_end|>",
     "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"llama3", "<|start_header_id|> <|end_header_id|> <|eot_id|>",
     "{{ bos_token }}{% for m in messages %}"
     "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}"
     "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif "
     "%}"},
    {"gemma", "<start_of_turn> <end_of_turn>",  // it knows no system turn: that goes before the user's first words
     "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
     "{% if m.role == 'system' %}{% set ns.system = m.content | trim + '\\n\\n' %}{% else %}"
     "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + ns.system + m.content | trim + "
     "'<end_of_turn>\\n' }}{% set ns.system = '' %}{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"},
    {"phi3", "<|user|> <|assistant|> <|end|>",
     "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    {"zephyr", "",
     "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
};

template <class Visit>
void for_each_word(std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    visit(word);
    text.remove_prefix(std::min(text.size(), word.size() + 1));
  }
}

}  // namespace

std::span<const KnownTemplate> known_templates() {
  return kTemplates;
}

const KnownTemplate* find_known_template(std::string_view name) {
  const auto found = std::find_if(std::begin(kTemplates), std::end(kTemplates),
                                  [&](const KnownTemplate& known) { return known.name == name; });
  return found == std::end(kTemplates) ? nullptr : found;
}

std::string known_template_names() {
  std::string names;
  for (const KnownTemplate& known : kTemplates) names.append(names.empty() ? "" : ", ").append(known.name);
  return names;
}

std::string missing_tokens(const KnownTemplate& known, const TokenizerData& tokenizer) {
  std::string missing;
  for_each_word(known.tokens, [&](std::string_view wanted) {
    const bool has = std::any_of(tokenizer.tokens.begin(), tokenizer.tokens.end(), [&](const Token& token) {
      return token.text == wanted && (token.kind == TokenKind::Control || token.kind == TokenKind::UserDefined);
    });
    if (!has) missing.append(missing.empty() ? "" : " ").append(wanted);
  });
  return missing;
}

const KnownTemplate* fitting_template(const TokenizerData& tokenizer) {
  for (const KnownTemplate& known : kTemplates)
    if (!known.tokens.empty() && missing_tokens(known, tokenizer).empty()) return &known;
  return nullptr;
}

}  // namespace attar
