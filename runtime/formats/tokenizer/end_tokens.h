// What a reply ends with and how it is drawn: which tokens end it, those that files name and those known by their text,
// and the names of these things in both formats. Source: llama.cpp's llama-vocab.cpp of
// 2026, which finds them in the same way.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// The other uses of a token that files name, and what llama.cpp does with them.
struct RoleName {
  const char* role;         // tokenizer.ggml.<role>_token_id
  const char* old_role;     // as first files named it, or nullptr
  const char* hf_key;       // of tokenizer_config.json, or nullptr
  bool ends_reply = false;  // a model that was not asked to fill in code ends with it
};
inline constexpr RoleName kRoleNames[] = {
    {"eom", nullptr, nullptr, true},     {"fim_pre", "prefix", nullptr},
    {"fim_suf", "suffix", nullptr},      {"fim_mid", "middle", nullptr},
    {"fim_pad", nullptr, nullptr, true}, {"fim_rep", nullptr, nullptr, true},
    {"fim_sep", nullptr, nullptr, true}, {"mask", nullptr, "mask_token"},
    {"seperator", nullptr, "sep_token"},  // GGUF's spelling
    {"cls", nullptr, "cls_token"},
};

// Sampling that makers advise, by GGUF's names and generation_config.json's.
struct SamplingName {
  const char* gguf;          // general.sampling.<gguf>
  const char* hf = nullptr;  // or nullptr
  bool is_whole = false;
};
inline constexpr SamplingName kSamplingNames[] = {
    {"temp", "temperature"},
    {"top_k", "top_k", true},
    {"top_p", "top_p"},
    {"min_p", "min_p"},
    {"xtc_probability"},
    {"xtc_threshold"},
    {"penalty_last_n", nullptr, true},
    {"penalty_repeat", "repetition_penalty"},
    {"mirostat", nullptr, true},
    {"mirostat_tau"},
    {"mirostat_eta"},
};

// Ids of tokens whose text alone says that a reply, or the code of a file, ends: ascending.
enum class EndTexts { OfReplies, OfRepliesAndCode };
std::vector<int32_t> ends_by_text(const TokenizerData& data, EndTexts texts);
// These, eos, eot, end_of_generation and the roles that end a reply: (V), 1 where a token ends it.
std::vector<uint8_t> end_flags(const TokenizerData& data);

}  // namespace attar
