#include "runtime/text/speculation.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"

namespace attar::runtime {
namespace {

constexpr int64_t kLeastMatch = 2, kMostMatch = 8;  // tokens of an occurrence that are compared

// How many of the tokens before `end` are those at the end of the text, up to kMostMatch.
int64_t match_before(std::span<const int32_t> text, size_t end) {
  const size_t n = text.size(), most = std::min(end, static_cast<size_t>(kMostMatch));
  size_t same = 0;
  while (same < most && text[end - 1 - same] == text[n - 1 - same]) ++same;
  return static_cast<int64_t>(same);
}

bool same_tokens(const Model& a, const Model& b) {
  const std::vector<Token>&one = a.tokenizer().data().tokens, &other = b.tokenizer().data().tokens;
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const Token& x, const Token& y) { return x.text == y.text && x.kind == y.kind; });
}

}  // namespace

std::vector<int32_t> looked_up(std::span<const int32_t> text, int64_t most) {
  if (most <= 0) return {};
  size_t best = 0;
  int64_t longest = kLeastMatch - 1;
  for (size_t end = text.empty() ? 0 : text.size() - 1; end > 0 && longest < kMostMatch; --end)
    if (const int64_t length = match_before(text, end); length > longest) best = end, longest = length;
  if (best == 0) return {};
  const auto behind = text.subspan(best);
  return {behind.begin(), behind.begin() + std::min(most, static_cast<int64_t>(behind.size()))};
}

void GuessLength::saw(int64_t guessed, int64_t accepted) {
  if (guessed == 0) return;
  next_ = accepted == guessed ? std::min(most_, 2 * next_) : std::max<int64_t>(1, std::min(next_, accepted + 1));
}

struct Draft::State {
  // A text while it is guessed.
  struct Line {
    ToGuess* of;
    DraftedText* read;
    std::vector<int32_t> unread;  // what the next pass reads
    bool goes_on = true;          // by a token that is drawn behind these
    int64_t answer = 0;           // of the pass, which one is for it
    std::unique_ptr<GrammarCursor> grammar{};
  };

  Model model;
  Workspace work;
  DraftedText own{};

  State(Model loaded, ThreadPool& threads) : model(std::move(loaded)), work(model, threads) {}

  Line begun(ToGuess& text);
  static void share_out(std::vector<Line>& lines, int64_t most_read);
  void read(const std::vector<Line>& lines, const Progress& progress);
  void draw(Line& line) const;
  void draw(std::vector<Line>& lines) const;
};

// What the cache holds of the text stays, but for the last token: its answer is wanted.
Draft::State::Line Draft::State::begun(ToGuess& text) {
  DraftedText& known = text.read != nullptr ? *text.read : own;
  if (!known.cache) known.cache.emplace(model);
  size_t common = 0;
  while (common < known.held.size() && common + 1 < text.text.size() && known.held[common] == text.text[common])
    ++common;
  known.cache->truncate(static_cast<int64_t>(common));
  known.held.resize(common);
  const std::span<const int32_t> unread = text.text.subspan(common);
  return {&text, &known, {unread.begin(), unread.end()}};
}

// Those that are nearly read are read; the others share what that leaves.
void Draft::State::share_out(std::vector<Line>& lines, int64_t most_read) {
  const auto is_near = [](const Line& line) { return static_cast<int64_t>(line.unread.size()) <= kDraftGuesses; };
  int64_t left = most_read, others = 0;
  for (const Line& line : lines) {
    if (is_near(line))
      left -= static_cast<int64_t>(line.unread.size());
    else
      ++others;
  }
  for (Line& line : lines) {
    if (is_near(line)) continue;
    const auto most = static_cast<size_t>(std::max<int64_t>(1, left / others));
    line.goes_on = line.unread.size() <= most;
    line.unread.resize(std::min(line.unread.size(), most));
  }
}

// One pass. (Where memory ends behind it a cache holds more than is noted, which begun() cuts.)
void Draft::State::read(const std::vector<Line>& lines, const Progress& progress) {
  std::vector<Row> rows;
  for (const Line& line : lines) {
    for (const int32_t token : line.unread) rows.push_back({&*line.read->cache, token, false});
    rows.back().wants_logits = line.goes_on;
  }
  forward(model, rows, work, progress, Answers::Summed);
  for (const Line& line : lines) line.read->held.insert(line.read->held.end(), line.unread.begin(), line.unread.end());
}

void Draft::State::draw(Line& line) const {
  ToGuess& text = *line.of;
  const SummedLogits logits = work.summed(line.answer);
  const Draw key{text.key.seed, text.key.sequence, line.read->held.size()};
  line.goes_on = false;
  try {
    const int32_t token = sample(logits, line.read->held, *text.sampling, key, line.grammar.get()).token;
    if (line.grammar != nullptr) line.grammar->advance(token);
    text.guesses.push_back(token);
    line.unread.assign(1, token);
    line.goes_on = static_cast<int64_t>(text.guesses.size()) < text.most && !model.tokenizer().ends_generation(token) &&
                   (line.grammar == nullptr || !line.grammar->must_end());
  } catch (const Error&) {
    // The logits are no numbers, or the grammar lets nothing come or is too much to read, at a place that the text may
    // never see. Nothing is guessed there.
  }
}

void Draft::State::draw(std::vector<Line>& lines) const {
  int64_t answers = 0;
  for (Line& line : lines)
    if (line.goes_on) line.answer = answers++;
  const auto threads = static_cast<size_t>(work.threads().size());
  const auto draw_some = [&](int thread) {
    for (size_t i = static_cast<size_t>(thread); i < lines.size(); i += threads)
      if (lines[i].goes_on) draw(lines[i]);
  };
  if (lines.size() == 1) return draw_some(0);
  work.threads().run(draw_some);
}

Draft::Draft(Model model, const Model& of, ThreadPool& threads) {
  if (!same_tokens(model, of))
    throw usage_error("--draft", "has another vocabulary than the model", of.source() + "'s tokens", model.source());
  state_ = std::make_unique<State>(std::move(model), threads);
}
Draft::~Draft() = default;

uint64_t Draft::kv_bytes_of(int64_t length_tokens) const {
  return kv_bytes(state_->model, std::min(length_tokens, state_->model.config().context_length));
}

void Draft::guess(std::span<ToGuess> texts, int64_t most_read, const Progress& progress) {
  State& s = *state_;
  std::vector<State::Line> lines;
  for (ToGuess& text : texts) {
    const int64_t room = s.model.config().context_length - static_cast<int64_t>(text.text.size()) + 1;
    text.most = std::min(text.most, room);
    if (text.most > 0) lines.push_back(s.begun(text));
  }
  State::share_out(lines, most_read);
  for (State::Line& line : lines)
    if (line.goes_on && line.of->grammar != nullptr) line.grammar = std::make_unique<GrammarCursor>(*line.of->grammar);
  while (!lines.empty()) {
    s.read(lines, progress);
    s.draw(lines);
    std::erase_if(lines, [](const State::Line& line) { return !line.goes_on; });
  }
}

}  // namespace attar::runtime
