// Tokens a stage trains on, calibrates with or is judged by: documents, which of their tokens count in the loss, and
// the teacher's signal where a teacher wrote them, in memory or on disk (dataset/).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/causal_lm.h"
#include "compress/signal/hidden_states.h"
#include "runtime/base/progress.h"
#include "runtime/formats/model_text.h"
#include "runtime/formats/text_file.h"
#include "runtime/formats/tokenizer/tokenizer.h"

namespace attar {

class SignalStore;  // compress/dataset/signal_store.h

// A text as the tokenizer of another model reads it, beside a document's own tokens (distill/alignment).
struct OtherReading {
  struct End {
    int64_t own = 0, other = 0;  // tokens of either reading up to here
    bool operator==(const End&) const = default;
  };
  std::vector<int32_t> tokens{};   // (To)
  std::vector<uint8_t> in_loss{};  // (To)
  std::vector<End> chunks{};       // where both readings end a token, ascending; the last is the end of both
  bool empty() const { return chunks.empty(); }
};

// Where the signal of a document lies that is not in memory.
struct StoredSignal {
  int64_t place = -1;           // in TokenDataset::store; -1: it is not there
  std::vector<int32_t> rows{};  // (T) which of the rows there each token has, -1: none; empty: they are its own
  bool empty() const { return place < 0; }
};

struct TokenDocument {
  std::vector<int32_t> tokens;  // (T)
  std::vector<uint8_t>
      in_loss;  // (T) 1: predicting this token counts (assistant turns of chats; all of a text but its first)
  // Top-k signal of the teacher for predicting token t, where known: k entries a token, or empty.
  std::vector<int32_t> signal_ids;      // (T, k); -1: not a token of this vocabulary, or an unused entry
  std::vector<float> signal_log_probs;  // (T, k); -infinity: unused. What has a probability but no id was cut away
  // In place of those: T rows of signal/sampled_signal.h, one after another, or empty.
  std::vector<uint8_t> sampled_signal{};
  HiddenStates hidden{};         // or those of all T tokens
  OtherReading other{};          // in memory alone: files do not hold it
  std::vector<float> weights{};  // (T) how much predicting each token of the loss counts; empty: 1 each
  StoredSignal stored{};         // in place of the signals above

  bool has_signal() const {
    return !signal_ids.empty() || !sampled_signal.empty() || !hidden.empty() || !stored.empty();
  }
  void forget_signal();
  bool lacks_signal() const;  // it has something to learn from, but a cached forward KL would pass over it
};

// visit(begin, end) for each chunk between two shared ends whose tokens of both readings are there and in the loss.
template <class Visit>
void for_each_loss_chunk(const TokenDocument& document, Visit&& visit) {
  const auto counts = [](const std::vector<uint8_t>& in_loss, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      if (t == 0 || in_loss[static_cast<size_t>(t)] == 0) return false;  // nothing predicts the first token
    return begin < end;
  };
  OtherReading::End begin;
  for (const OtherReading::End& end : document.other.chunks) {
    if (counts(document.in_loss, begin.own, end.own) && counts(document.other.in_loss, begin.other, end.other))
      visit(begin, end);
    begin = end;
  }
}

// How the rows of a sampled signal were drawn and are written.
struct SampledForm {
  int64_t samples = 0;  // draws for the teacher's whole mass at a token; 0: no such signal
  int64_t id_bits = 0;
  bool operator==(const SampledForm&) const = default;
};

// What a data set follows from, as hashes, so that one that is kept is not taken for another; "": it does not say.
struct DatasetOrigin {
  std::string teacher_hash{};  // ModelFile::content_hash() of who wrote the text or gives its signal
  std::string text_hash{};     // kept/text_hash.h, of all the text that the signal is of
  std::string made_by{};       // of the options that decide both
  bool operator==(const DatasetOrigin&) const = default;
};

// What the numbers of a signal may be beside the runtime's (runtime/formats/numerics.h): those of a training's own
// passes.
inline constexpr const char* kTrainingNumerics = "training";

struct TokenDataset {
  std::string tokenizer_hash;
  int64_t signal_k = 0;
  std::string signal_numerics{};  // of the teacher whose signal it is: fp32, deployed or training; "" without one
  std::vector<TokenDocument> documents{};
  int32_t bos = -1;  // Tokenizer::start(): what each part of a document that is cut begins with; -1: nothing
  SampledForm sampled{};
  int64_t hidden_width = 0;  // C of HiddenStates; 0: no such signal
  DatasetOrigin origin{};
  std::shared_ptr<SignalStore> store{};  // of the signals that are not in memory
  std::vector<int32_t> store_ids{};      // (V of the store) ids here of its tokens, -1: cut away; empty: the same

  bool has_signal() const { return signal_k > 0 || sampled.samples > 0 || hidden_width > 0; }
  TokenDataset without_documents() const {
    return {tokenizer_hash, signal_k, signal_numerics, {}, bos, sampled, hidden_width, origin, store, store_ids};
  }

  int64_t token_count() const;
  int64_t loss_token_count() const;
  bool has_weights() const;
  int64_t longest_tokens() const;  // of a document
  int64_t documents_without_signal() const;
};

// Without documents yet.
TokenDataset dataset_of(const Tokenizer& tokenizer);

// How text files become tokens to learn from.
struct TextDataOptions {
  std::string chat_template{};
  bool end_of_text = true;
};
template <class Visitor>
void visit_fields(TextDataOptions& o, Visitor&& field) {
  field(o.chat_template, "chat_template",
        "chat template of the chats: a file, or chatml, llama3, gemma, phi3 or zephyr; without it the model's own");
  field(o.end_of_text, "end_of_text", "plain documents end with the EOS token");
}

// Plain text: behind BOS as the tokenizer says, and ended with EOS. Chats: through the template, whole; only what the
// assistant says and the token that ends its turn is in the loss (runtime/formats/model_text.h).
class DocumentTokenizer {
 public:
  explicit DocumentTokenizer(const Tokenizer& tokenizer, const TextDataOptions& options = {});  // must outlive it
  TokenDataset operator()(const std::vector<Document>& documents);
  const TextReader& reader() const { return reader_; }  // which template the chats took

 private:
  const Tokenizer& tokenizer_;
  bool end_of_text_;
  TextReader reader_;
};
TokenDataset tokenize_documents(const std::vector<Document>& documents, const Tokenizer& tokenizer,
                                const TextDataOptions& options = {});

// The same data with no document longer than `max_tokens`: what follows a cut begins with BOS where the tokenizer adds
// it. The teacher's signal stays with its token; a document that is cut loses its other reading.
TokenDataset cut_documents(const TokenDataset& dataset, int64_t max_tokens);

// Documents of at most `max_tokens` (longer ones are to go through cut_documents) packed whole into batches that
// predict at most `batch_tokens` (a document's first token is not predicted), in an order that is a pure function of
// (seed, epoch). Each entry: indices of documents (with the cut's first token).
struct Piece {
  int64_t document;
  int64_t begin;
  int64_t length;
};
std::vector<std::vector<Piece>> pack(const TokenDataset& dataset, int64_t max_tokens, int64_t batch_tokens,
                                     uint64_t seed, int64_t epoch);
TokenBatch to_batch(const TokenDataset& dataset, const std::vector<Piece>& pieces);
// The documents in order, for calibration and evaluation; at most `limit_tokens` tokens of them, 0 for all.
std::vector<TokenBatch> batches_in_order(const TokenDataset& dataset, int64_t max_tokens, int64_t batch_tokens,
                                         int64_t limit_tokens = 0);

}  // namespace attar
