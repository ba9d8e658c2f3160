#include "recipes/report/glossary.h"

#include <algorithm>
#include <iterator>

namespace attar {
namespace {

struct Term {
  const char *key, *name, *meaning;
};
// Keys of rates, shares and sizes are those of the JSON documents (runtime/cli/JSON.md).
constexpr Term kTerms[] = {
    {"kl", "KL to the teacher",
     "The Kullback–Leibler divergence of the student's probabilities for the next token from the teacher's, in nats, "
     "averaged over the scored positions. 0 when both say the same. A mean hides a few bad places: the median, what 99 "
     "% of the positions stay below, and the largest stand beside it."},
    {"spread", "±",
     "Behind a divergence or a share: the standard error, which says how far another text of this kind and length may "
     "lie. Positions of one window depend on each other, so it is taken from the windows, not the tokens. Twice as far "
     "to both sides is an interval of about 95 %. Behind a speed: half of what lies between the quartiles of its "
     "runs."},
    {"deployed", "deployed numbers",
     "What users run: the stored weights multiplied with activations in 8-bit integers. Gates judge these."},
    {"fp32", "fp32 numbers",
     "The reference: the same stored weights, decoded, and everything computed in 32-bit floats. What lies between "
     "fp32 and deployed is the price of the 8-bit activations, and not of the stored weights."},
    {"window", "window",
     "A stretch of text that both models read from nothing. Windows do not overlap; every position but the first is "
     "scored."},
    {"perplexity", "perplexity",
     "exp of the mean negative log-probability of the text's tokens: from how many equally likely tokens a model "
     "seems to choose. Lower is better. Only models that cut text into the same tokens compare by it."},
    {"bits_per_byte", "bits per byte",
     "The negative log-probability of the whole text in bits, over its bytes. Lower is better; it compares models with "
     "unlike vocabularies."},
    {"top1_agreement", "same likeliest token",
     "The share of positions where both models find the same token likeliest: where greedy text would go on alike."},
    {"top5_overlap", "five likeliest in common",
     "How many of the teacher's five likeliest tokens are among the student's."},
    {"dropped_mass", "dropped mass",
     "What the teacher gives, on average, to tokens that were cut from the student's vocabulary. Divergence and shares "
     "are judged over the tokens that are left."},
    {"bytes", "file size", "Of the model's files. 1 MB is 1,000,000 bytes."},
    {"parameters", "parameters", "Weights of the model, in millions; a shared embedding and head count once."},
    {"bits_per_weight", "bits per weight",
     "8 times the file's bytes over the parameters: the whole file, tokenizer too."},
    {"prefill_tokens_per_s", "prompt", "How fast a prompt is read. Median of the runs."},
    {"decode_tokens_per_s", "generation", "How fast text is written, a token at a time. Median of the runs."},
    {"time_to_first_token_s", "time to first token", "From the start of the program to its first token, with loading."},
    {"peak_rss_bytes", "peak memory", "The most memory that the process held which ran this model alone."},
    {"gate", "gate", "A limit that the recipe sets. A run that misses one ends with exit code 4."},
    {"arms", "arms",
     "A training and its controls: from random weights (scratch) and from the student that was there (initialised), "
     "each by cross-entropy on the text alone (CE) and by the losses that ask the teacher (KD). What KD has less than "
     "CE of the same start is what the teacher was worth; what initialised has less than scratch, what the weights "
     "were."},
    {"near_duplicates", "near-duplicate",
     "A document that shares at least the part of its runs of five words that data.deduplicate names with one before "
     "it (the Jaccard similarity of both sets, whatever case and punctuation)."},
    {"baseline", "quantize only",
     "The teacher quantized to the nearest size that quantizing alone allows, and judged on the same text: what "
     "pruning and distilling have to beat."},
    {"relative_error", "relative error",
     "The squared change of what a matrix gives on the calibration text, over the square of what it gave before."},
};

const Term* find_term(const std::string& key) {
  const Term* found = std::find_if(std::begin(kTerms), std::end(kTerms), [&](const Term& t) { return key == t.key; });
  return found == std::end(kTerms) ? nullptr : found;
}

}  // namespace

bool is_term(const std::string& key) {
  return find_term(key) != nullptr;
}

std::string glossary_html(const std::string& body_html) {
  std::string out;
  for (const Term& one : kTerms)
    if (body_html.find("href=\"#" + std::string(one.key) + "\"") != std::string::npos)
      out += "<dt id=\"" + std::string(one.key) + "\">" + one.name + "</dt><dd>" + one.meaning + "</dd>\n";
  return out.empty() ? "" : "<dl>" + out + "</dl>";
}

}  // namespace attar
