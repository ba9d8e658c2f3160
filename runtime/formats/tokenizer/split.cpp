#include "runtime/formats/tokenizer/split.h"

#include "runtime/formats/tokenizer/split_rules.h"

namespace attar {
namespace {

struct Rule {
  std::string_view name;
  SplitFunction split;
};
constexpr Rule kRules[] = {
    {"gpt-2", split_rules::gpt2},
    {"smollm", split_rules::smollm},
    {"llama-bpe", split_rules::llama3},
    {"qwen2", split_rules::qwen2},
    {"qwen35", split_rules::qwen35},
    {"seed-coder", split_rules::seed_coder},
    {"minicpm5", split_rules::minicpm5},
    {"tekken", split_rules::tekken},
    {"gpt-4o", split_rules::gpt4o},
    {"deepseek-v3", split_rules::deepseek_v3},
    {"deepseek-coder", split_rules::deepseek_coder},
    {"deepseek-llm", split_rules::deepseek_llm},
    {"falcon", split_rules::falcon},
    {"default", split_rules::llama_cpp_default},
};

constexpr PreTraits kWhole{.ignores_merges = true};
constexpr PreTraits kWholeWithBos{.ignores_merges = true, .adds_bos = true};
constexpr PreTraits kNfc{.normalizes_nfc = true};

// Names of one rule stand together, the one that Attar writes first.
constexpr PreTokenizer kPreTokenizers[] = {
    {"gpt-2", "gpt-2"},
    {"phi-2", "gpt-2"},
    {"mpt", "gpt-2"},
    {"olmo", "gpt-2"},
    {"jais", "gpt-2"},
    {"trillion", "gpt-2"},
    {"granite-docling", "gpt-2"},
    {"jina-es", "gpt-2"},
    {"jina-de", "gpt-2"},
    {"jina-v2-es", "gpt-2"},
    {"jina-v2-de", "gpt-2"},
    {"gigachat", "gpt-2"},
    {"a.x-4.0", "gpt-2"},
    {"mellum", "gpt-2"},
    {"modern-bert", "gpt-2"},
    {"exaone4", "gpt-2"},

    {"smollm", "smollm"},
    {"starcoder", "smollm"},
    {"refact", "smollm"},
    {"command-r", "smollm"},
    {"codeshell", "smollm"},
    {"exaone", "smollm"},
    {"minerva-7b", "smollm"},
    {"mellum2", "smollm"},

    {"llama-bpe", "llama-bpe", kWholeWithBos},
    {"llama3", "llama-bpe", kWholeWithBos},
    {"llama-v3", "llama-bpe", kWholeWithBos},
    {"falcon3", "llama-bpe", kWholeWithBos},
    {"falcon-h1", "llama-bpe", kWholeWithBos},
    {"pixtral", "llama-bpe", kWholeWithBos},
    {"midm-2.0", "llama-bpe", kWholeWithBos},
    {"lfm2", "llama-bpe", kWholeWithBos},
    {"jina-v5-nano", "llama-bpe", kWholeWithBos},
    {"smaug-bpe", "llama-bpe"},
    {"dbrx", "llama-bpe"},
    {"chatglm-bpe", "llama-bpe"},
    {"glm4", "llama-bpe"},

    {"qwen2", "qwen2", kNfc},
    {"deepseek-r1-qwen", "qwen2"},
    {"stablelm2", "qwen2"},
    {"megrez", "qwen2"},
    {"hunyuan", "qwen2"},
    {"solar-open", "qwen2"},
    {"grok-2", "qwen2"},
    {"kormo", "qwen2"},
    {"f2llmv2", "qwen2"},
    // '(?i:[sdmt]|ll|ve|re) first, possessive repeats and \s*[\r\n] for \s*[\r\n]+: they match the same text
    {"bailingmoe", "qwen2"},
    {"bailingmoe2", "qwen2"},
    {"llada-moe", "qwen2"},

    {"qwen35", "qwen35", kNfc},
    {"seed-coder", "seed-coder"},
    {"minicpm5", "minicpm5", kWhole},

    {"tekken", "tekken", kWholeWithBos},

    {"gpt-4o", "gpt-4o"},
    {"llama4", "gpt-4o"},
    {"kanana2", "gpt-4o"},
    {"talkie", "gpt-4o"},
    {"minimax-m2", "gpt-4o"},

    {"deepseek-v3", "deepseek-v3"},
    {"hunyuan-dense", "deepseek-v3"},
    {"joyai-llm", "deepseek-v3"},
    {"hy_v4", "deepseek-v3"},
    {"deepseek-coder", "deepseek-coder"},
    {"deepseek-llm", "deepseek-llm"},
    {"falcon", "falcon"},

    {"default", "default"},
};

}  // namespace

const PreTokenizer* find_pre_tokenizer(std::string_view name) {
  for (const PreTokenizer& row : kPreTokenizers)
    if (row.name == name) return &row;
  return nullptr;
}

SplitFunction find_split(std::string_view name) {
  for (const Rule& rule : kRules)
    if (rule.name == canonical_pre(name)) return rule.split;
  return nullptr;
}

PreTraits traits_of_pre(std::string_view name) {
  const PreTokenizer* row = find_pre_tokenizer(name);
  return row != nullptr ? row->traits : PreTraits{};
}

std::string_view pre_with(std::string_view rule, bool ignores_merges) {
  for (const PreTokenizer& row : kPreTokenizers)
    if (row.rule == rule && row.traits.ignores_merges == ignores_merges) return row.name;
  return {};
}

std::string known_pre_tokenizers() {
  std::string names;
  for (const Rule& rule : kRules) names += (names.empty() ? "" : ", ") + std::string(rule.name);
  return names;
}

std::string_view canonical_pre(std::string_view pre) {
  const PreTokenizer* row = find_pre_tokenizer(pre);
  return row != nullptr ? row->rule : pre;
}

}  // namespace attar
