// The pre-tokenizers of tokenizer.json files that Attar knows, as lists of steps. Line breaks stand escaped.
#pragma once

#include <array>
#include <string_view>

namespace attar {

enum class HfStepKind { None, Digits, Split, ByteLevel, ByteLevelGpt2 };  // ByteLevel without and with use_regex

struct HfStep {
  HfStepKind kind = HfStepKind::None;
  std::string_view pattern = {};  // of Split
  bool operator==(const HfStep&) const = default;
};

struct HfPreTokenizer {
  std::string_view pre;  // TokenizerData::pre
  std::array<HfStep, 6> steps;
};

namespace hf_steps {

constexpr HfStep kDigits{HfStepKind::Digits};
constexpr HfStep kBytes{HfStepKind::ByteLevel};
constexpr HfStep kGpt2{HfStepKind::ByteLevelGpt2};
constexpr HfStep split(std::string_view pattern) {
  return {HfStepKind::Split, pattern};
}

// Llama 3; Qwen 2 takes digits one by one.
constexpr HfStep kLlama3 = split(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kQwen2 = split(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kQwen35 = split(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kBailing = split(
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)");
constexpr HfStep kSeedCoder = split(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kMiniCpm5 = split(
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
// Words that change case but once: Mistral Nemo, GPT-4o.
constexpr HfStep kTekken = split(
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kGpt4o = split(
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kThreeDigits = split(R"(\p{N}{1,3})");
constexpr HfStep kDeepSeekCjk = split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+");
constexpr HfStep kDeepSeekWords = split(
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
constexpr HfStep kDeepSeekCoderCjk = split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+");

}  // namespace hf_steps

inline constexpr HfPreTokenizer kHfPreTokenizers[] = {
    {"gpt-2", {hf_steps::kGpt2}},
    {"smollm", {hf_steps::kDigits, hf_steps::kGpt2}},
    {"llama-bpe", {hf_steps::kLlama3, hf_steps::kBytes}},
    {"qwen2", {hf_steps::kQwen2, hf_steps::kBytes}},
    {"bailingmoe", {hf_steps::kBailing, hf_steps::kBytes}},
    {"qwen35", {hf_steps::kQwen35, hf_steps::kBytes}},
    {"seed-coder", {hf_steps::kSeedCoder, hf_steps::kBytes}},
    {"minicpm5", {hf_steps::kThreeDigits, hf_steps::kMiniCpm5, hf_steps::kBytes}},
    {"tekken", {hf_steps::kTekken, hf_steps::kBytes}},
    {"gpt-4o", {hf_steps::kGpt4o, hf_steps::kBytes}},
    {"deepseek-v3", {hf_steps::kThreeDigits, hf_steps::kDeepSeekCjk, hf_steps::kDeepSeekWords, hf_steps::kBytes}},
    {"deepseek-coder",
     {hf_steps::split(R"([\r\n])"), hf_steps::split(R"(\s?\p{L}+)"), hf_steps::split(R"(\s?\p{P}+)"),
      hf_steps::kDeepSeekCoderCjk, hf_steps::kDigits, hf_steps::kBytes}},
};

}  // namespace attar
