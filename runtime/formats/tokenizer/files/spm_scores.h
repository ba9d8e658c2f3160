// SPM's scores out of the merges of a tokenizer.json. Source: the SentencePiece converters of transformers, which list
// all pairs of tokens that make a token, by falling score of the token they make.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

// Sets the scores and merge_ties so that merging by score is merging by these ranks. Error{Input} naming `where` when
// no scores do that: pairs that are left out, or tokens whose pairs do not stand together.
void set_spm_scores(const std::vector<MergeList::Texts>& merges, const std::string& where, TokenizerData& data);

}  // namespace attar
