#include "runtime/base/words/suggestion.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

namespace attar {
namespace {

namespace fs = std::filesystem;

// What llama.cpp, transformers, torchtune and lm-evaluation-harness call it, and what it is here: a pair a line. (A
// table of pointers would take four times as much of the lean program.)
constexpr std::string_view kOtherNames = R"(lr learning_rate
max_new_tokens max_tokens
n_predict max_tokens
num_predict max_tokens
max_length max_tokens
num_tokens max_tokens
temp temperature
repeat_penalty repetition_penalty
n_ctx context
ctx_size context
max_length context
batch_size batch_tokens
ubatch_size batch_tokens
max_seq_len sequence_tokens
block_size sequence_tokens
epochs tokens
max_steps tokens
save_steps checkpoint_every_steps
loss losses
steps tokens
num_layers layers
layers drop_layers
ffn drop_ffn
heads drop_heads
vocab keep_vocab
bits target_bpw
size target_size
type to
dtype to
gguf_type to
output out
output_dir out
output_path out
dataset data
calibration data
calibration_data data
train_data data
text data
file data
overwrite force
n_threads threads
num_threads threads
callback progress
add_special_tokens special
parse_special special
stop_strings stop
silent quiet
benchmark bench
convert export
evaluate eval
perplexity eval
ppl eval
train distill
finetune distill
compare verify
info inspect
show inspect
complete generate
)";

std::string plain(std::string word) {
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
}

std::string letters(std::string word) {
  std::erase_if(word, [](char c) { return c == '-' || c == '_'; });
  return word;
}

// Edits of one character between two words: insert, delete, replace, or two neighbours the other way round.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before = above, above = row;
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(const std::string& given, const std::vector<std::string>& known) {
  const std::string word = plain(given);
  const auto find = [&](const auto& fits) -> std::string {
    const auto found = std::find_if(known.begin(), known.end(), [&](const std::string& name) { return fits(name); });
    return found == known.end() ? "" : *found;
  };
  for (std::string_view rest = kOtherNames; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
    const size_t gap = rest.find(' ');
    const std::string_view own = rest.substr(gap + 1, rest.find('\n') - gap - 1);
    if (word != rest.substr(0, gap)) continue;
    if (std::string found = find([&](const std::string& name) { return plain(name) == own; }); !found.empty())
      return found;
  }
  if (std::string found = find([&](const std::string& name) { return letters(name) == letters(word); }); !found.empty())
    return found;
  if (word.size() >= 3)
    if (std::string found = find([&](const std::string& name) { return plain(name).rfind(word, 0) == 0; });
        !found.empty())
      return found;
  const auto distance = [&](const std::string& name) { return edit_distance(word, plain(name)); };
  const auto best = std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return distance(a) < distance(b);
  });
  const size_t most = word.size() < 4 ? 1 : std::max<size_t>(2, word.size() / 3);
  return best != known.end() && distance(*best) <= most ? *best : "";
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known,
                       std::span<const RenamedField> renamed) {
  for (const RenamedField& field : renamed)
    if (word == field.before) return std::string("; it is called `") + field.now + "` now";
  if (const std::string near = nearest(word, known); !near.empty()) return "; did you mean `" + near + "`?";
  std::string all;
  for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
  return "; known keys: " + all;
}

std::string nearest_path(const std::string& path) {
  const fs::path asked(path), folder = asked.parent_path();
  const std::string name = asked.filename().string();
  std::error_code code;
  std::vector<std::string> known;
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, code), end; !code && entry != end;
       entry.increment(code))
    known.push_back(entry->path().filename().string());
  std::sort(known.begin(), known.end());
  const std::string near = name.empty() ? "" : nearest(name, known);
  return near.empty() ? "" : "did you mean " + (folder / near).string() + "?";
}

}  // namespace attar
