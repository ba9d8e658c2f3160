#include "runtime/text/batch_engine.h"

#include <algorithm>
#include <deque>
#include <list>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/host/float_environment.h"
#include "runtime/model/workspace.h"
#include "runtime/text/kept_caches.h"
#include "runtime/text/writing.h"

namespace attar::runtime {
namespace {

constexpr int64_t kLeastShared = 16;  // tokens that are worth a copy of a cache

// A request from when it is submitted to when its end was told.
struct Sequence {
  Sequence(const Model& model, uint64_t number, BatchRequest given)
      : id(number), request(std::move(given)), writing(model, request.prompt, request.options, request.sequence) {
    const int64_t prompt = writing.prompt_tokens(), room = model.config().context_length - prompt;
    const int64_t longest = prompt + std::min(room, std::max<int64_t>(0, request.options.max_tokens));
    kv_bytes_at_most = kv_bytes(model, longest);
    if (request.options.draft != nullptr) kv_bytes_at_most += request.options.draft->kv_bytes_of(longest);
  }

  std::span<const int32_t> unread() const {
    return writing.history().subspan(static_cast<size_t>(cache->length_tokens()));
  }
  bool reads_prompt() const { return unread().size() > 1; }
  bool live() const { return !dropped && !writing.ended(); }

  const uint64_t id;
  BatchRequest request;
  Writing writing;
  uint64_t kv_bytes_at_most = 0;
  std::optional<KvCache> cache{};  // while it is active
  DraftedText drafted{};
  int64_t held_tokens = 0;
  Sequence* leader = nullptr;  // an older one, which reads what this one's prompt begins with: `shared` tokens
  int64_t shared = 0;
  bool looks_around = true;  // for such a one, and for a text that is kept
  std::exception_ptr error{};

  // Of the pass under way.
  int64_t reads = 0;   // unread tokens; 0: it is not in the pass
  bool draws = false;  // behind the last of them
  int64_t first_answer = 0, history_before = 0, length_before = 0;
  std::vector<int32_t> guessed{};

  // What callbacks were told.
  size_t told_tokens = 0, told_text_bytes = 0;
  int64_t told_read = 0;
  bool told_end = false, dropped = false;
};

bool is_want_of_memory(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const Error& error) {
    return error.kind() == ErrorKind::Resources;
  } catch (...) {
    return false;
  }
}

void need(int64_t value, int64_t most, const char* name) {
  if (value < 1 || value > most)
    throw usage_error(name, "is out of range", "1 to " + std::to_string(most), std::to_string(value));
}

}  // namespace

struct BatchEngine::State {
  State(const Model& of, Workspace& with, const EngineOptions& given)
      : model(of), work(with), options(given), kept(given.kept_bytes) {
    need(options.max_sequences, kMaxPassRows, "max_sequences");
    need(options.prompt_tokens, kMaxPassRows, "prompt_tokens");
  }

  void admit();
  void share_prompt(Sequence& sequence);
  bool waits(Sequence& sequence);
  void choose();
  void guess();
  void add_rows(Sequence& sequence);
  void plan();
  void pass(const Progress& progress);
  void draw(Sequence& sequence);
  void draw_all();
  void take_back() noexcept;
  void write_all();
  void tell(Sequence& sequence);
  void release(std::list<std::unique_ptr<Sequence>>::iterator sequence) noexcept;
  void sweep() noexcept;

  const Model& model;
  Workspace& work;
  const EngineOptions options;
  KeptCaches kept;
  std::deque<std::unique_ptr<Sequence>> waiting;
  std::list<std::unique_ptr<Sequence>> active;  // the oldest first
  uint64_t last_id = 0, promised_bytes = 0;     // promised: what the active may grow to
  std::vector<Row> rows;
  int64_t answers = 0;
  bool stepping = false;
};

// Those that there is room for, in their order: a large one is waited for, or it might never come.
void BatchEngine::State::admit() {
  while (!waiting.empty() && static_cast<int64_t>(active.size()) < options.max_sequences) {
    Sequence& next = *waiting.front();
    if (options.max_kv_bytes > 0) {
      if (promised_bytes + next.kv_bytes_at_most > options.max_kv_bytes) return;
      kept.shrink_to(options.max_kv_bytes - promised_bytes - next.kv_bytes_at_most);
    }
    next.cache.emplace(model);
    active.emplace_back();  // may fail; then it goes on waiting
    active.back() = std::move(waiting.front());
    waiting.pop_front();
    promised_bytes += next.kv_bytes_at_most;
  }
}

// What the prompt has in common with a text that is kept is copied; with one under way, once that has read it.
void BatchEngine::State::share_prompt(Sequence& s) {
  const std::span<const int32_t> prompt = s.writing.history().first(s.request.prompt.size() - 1);
  s.shared = s.cache->length_tokens() + kLeastShared - 1;
  if (const KeptCaches::Kept* found = kept.find(prompt, s.shared + 1)) {
    const int64_t common = common_tokens(prompt, found->tokens);
    s.cache = KvCache(found->cache, common);  // where that fails it is what it was
    s.held_tokens = common;
    s.shared = common + kLeastShared - 1;
  }
  for (const std::unique_ptr<Sequence>& older : active) {
    if (older.get() == &s) break;
    const int64_t common = common_tokens(prompt, older->request.prompt);
    if (older->live() && common > s.shared) s.leader = older.get(), s.shared = common;
  }
  s.looks_around = false;
}

// For an older one that reads what this one's prompt begins with.
bool BatchEngine::State::waits(Sequence& s) {
  if (s.looks_around) share_prompt(s);
  if (s.leader == nullptr) return false;
  if (s.leader->cache->length_tokens() < s.shared) return true;
  s.cache = KvCache(*s.leader->cache, s.shared);
  s.held_tokens = s.shared;
  s.leader = nullptr;
  return false;
}

// How many tokens the pass reads of each.
void BatchEngine::State::choose() {
  bool others_write = false;
  std::vector<Sequence*> reading;
  for (const std::unique_ptr<Sequence>& s : active) {
    s->reads = 0;
    if (!s->live() || !s->writing.wants_draw() || waits(*s)) continue;
    s->reads = 1;
    if (s->reads_prompt())
      reading.push_back(s.get());
    else
      others_write = true;
  }
  std::sort(reading.begin(), reading.end(), [](const Sequence* a, const Sequence* b) {
    return std::pair(a->unread().size(), a->id) < std::pair(b->unread().size(), b->id);
  });
  int64_t left = others_write ? options.prompt_tokens : kMaxPassRows;
  auto readers = static_cast<int64_t>(reading.size());
  for (Sequence* s : reading) {  // what a short one leaves is shared out among the others
    const int64_t most = std::max<int64_t>(1, left / readers--);
    s->reads = std::min(most, static_cast<int64_t>(s->unread().size()));
    left -= s->reads;
  }
}

// What may come next in the texts that are drawn for. Each guess needs V logits, so there are no more of them than a
// pass has rows.
void BatchEngine::State::guess() {
  int64_t left = kMaxPassRows - static_cast<int64_t>(active.size());
  std::vector<Sequence*> asking;
  std::vector<ToGuess> texts;
  for (const std::unique_ptr<Sequence>& s : active) {
    s->guessed.clear();
    s->draws = s->reads > 0 && s->reads == static_cast<int64_t>(s->unread().size());
    if (!s->draws) continue;
    s->guessed = s->writing.look_up();
    s->guessed.resize(std::min(s->guessed.size(), static_cast<size_t>(left)));
    left -= static_cast<int64_t>(s->guessed.size());
    if (options.draft == nullptr || !s->guessed.empty()) continue;
    asking.push_back(s.get());
    texts.push_back(s->writing.to_guess());
    texts.back().read = &s->drafted;
  }
  if (texts.empty()) return;
  left /= static_cast<int64_t>(texts.size());
  for (ToGuess& text : texts) text.most = std::min(text.most, left);
  options.draft->guess(texts, options.prompt_tokens);
  for (size_t i = 0; i < asking.size(); ++i) asking[i]->guessed = std::move(texts[i].guesses);
}

// The first unread tokens; with the last of them the guesses, and the logits behind all.
void BatchEngine::State::add_rows(Sequence& s) {
  s.history_before = static_cast<int64_t>(s.writing.history().size());
  s.length_before = s.cache->length_tokens();
  for (const int32_t token : s.unread().first(static_cast<size_t>(s.reads))) rows.push_back({&*s.cache, token, false});
  if (!s.draws) return;
  rows.back().wants_logits = true;
  for (const int32_t token : s.guessed) rows.push_back({&*s.cache, token, true});
  s.first_answer = answers;
  answers += static_cast<int64_t>(s.guessed.size()) + 1;
}

void BatchEngine::State::plan() {
  choose();
  guess();
  rows.clear();
  answers = 0;
  for (const std::unique_ptr<Sequence>& s : active)
    if (s->reads > 0) add_rows(*s);
}

// What ends a text alone is kept with it; want of memory is everybody's.
void BatchEngine::State::draw(Sequence& s) {
  try {
    s.writing.draw(s.guessed, [&](int64_t i) {
      const SummedLogits logits = work.summed(s.first_answer + i);
      if (s.request.on_drawn) s.request.on_drawn(logits.values);
      return logits;
    });
  } catch (...) {
    if (is_want_of_memory(std::current_exception())) throw;
    s.error = std::current_exception();
  }
}

void BatchEngine::State::draw_all() {
  std::vector<Sequence*> together;
  for (const std::unique_ptr<Sequence>& s : active) {
    if (s->reads == 0 || !s->draws) continue;
    if (s->request.options.on_logits)
      draw(*s);
    else
      together.push_back(s.get());
  }
  const auto threads = static_cast<size_t>(work.threads().size());
  if (together.empty()) return;
  work.threads().run([&](int thread) {
    for (size_t i = static_cast<size_t>(thread); i < together.size(); i += threads) draw(*together[i]);
  });
}

void BatchEngine::State::take_back() noexcept {
  for (const std::unique_ptr<Sequence>& s : active) {
    if (s->reads == 0) continue;
    s->writing.forget(s->history_before);
    s->cache->truncate(s->length_before);
    s->error = nullptr;
  }
}

void BatchEngine::State::pass(const Progress& progress) {
  if (rows.empty()) return;
  try {
    forward(model, rows, work, progress, Answers::Summed);
    draw_all();
  } catch (...) {
    take_back();
    throw;
  }
  for (const std::unique_ptr<Sequence>& s : active) {
    if (s->reads == 0 || !s->draws) continue;
    s->cache->truncate(static_cast<int64_t>(s->writing.history().size()) - 1);
    if (s->error) s->writing.end(StopReason::Interrupted);
  }
}

void BatchEngine::State::write_all() {
  for (const std::unique_ptr<Sequence>& s : active)
    while (s->live() && !s->writing.wants_draw()) s->writing.write();
}

void BatchEngine::State::tell(Sequence& s) {
  const Generated& text = s.writing.result();
  const auto stop = [&](Flow flow) {
    if (flow == Flow::Stop && !s.writing.ended()) s.writing.end(StopReason::Interrupted);
    return flow == Flow::Stop || s.dropped;
  };
  const BatchRequest& r = s.request;
  const bool whole = s.error == nullptr && text.reason != StopReason::Interrupted;
  const int64_t read = std::min(s.cache->length_tokens(), s.writing.prompt_tokens());
  bool stopped = s.dropped || !whole;
  if (!stopped && r.on_prompt && read > std::exchange(s.told_read, read) && s.reads_prompt())
    stopped = stop(r.on_prompt(read, s.writing.prompt_tokens()));
  while (!stopped && s.told_tokens < text.tokens.size()) {
    const int32_t token = text.tokens[s.told_tokens++];
    stopped = r.on_token && stop(r.on_token(token));
  }
  if (!stopped && s.told_text_bytes < text.text.size()) {
    const std::string_view piece = std::string_view(text.text).substr(s.told_text_bytes);
    s.told_text_bytes = text.text.size();
    stopped = r.on_text && stop(r.on_text(piece));
  }
  if (!s.writing.ended() || s.dropped || s.told_end) return;
  const Ended ended{s.id, text, s.writing.prompt_tokens(), s.held_tokens, s.writing.history().back(), s.error};
  s.told_end = true;
  if (r.on_end) r.on_end(ended);
}

void BatchEngine::State::release(std::list<std::unique_ptr<Sequence>>::iterator sequence) noexcept {
  for (const std::unique_ptr<Sequence>& s : active)
    if (s->leader == sequence->get()) s->leader = nullptr, s->looks_around = true;
  promised_bytes -= (*sequence)->kv_bytes_at_most;
  active.erase(sequence);
}

// Those that are over go; what one of them read is kept.
void BatchEngine::State::sweep() noexcept {
  for (auto at = active.begin(); at != active.end();) {
    const auto s = at++;
    if (!(*s)->dropped && !(*s)->told_end) continue;
    if (!(*s)->dropped && options.kept_bytes > 0) kept.keep((*s)->writing.history(), std::move(*(*s)->cache));
    release(s);
  }
}

BatchEngine::BatchEngine(const Model& model, Workspace& work, const EngineOptions& options)
    : state_(std::make_unique<State>(model, work, options)) {}
BatchEngine::~BatchEngine() = default;

uint64_t BatchEngine::submit(BatchRequest request) {
  State& s = *state_;
  const int64_t context = s.model.config().context_length;
  check(request.options.sampling);
  if (request.prompt.empty()) throw usage_error("the prompt", "is empty", "at least one token, such as BOS");
  if (static_cast<int64_t>(request.prompt.size()) > context)
    throw input_error("the prompt", "is longer than the model's context",
                      "at most " + std::to_string(context) + " tokens", std::to_string(request.prompt.size()),
                      "shorten it");
  if (request.options.draft != nullptr)
    throw usage_error("draft", "is the engine's, for all its texts", "none in a request");
  request.options.draft = s.options.draft;
  auto sequence = std::make_unique<Sequence>(s.model, s.last_id + 1, std::move(request));
  if (s.options.max_kv_bytes > 0 && sequence->kv_bytes_at_most > s.options.max_kv_bytes)
    throw usage_error("the prompt", "needs more keys and values than the engine may hold",
                      "at most " + std::to_string(s.options.max_kv_bytes) + " bytes",
                      std::to_string(sequence->kv_bytes_at_most), "shorten it, or ask for fewer tokens");
  s.waiting.push_back(std::move(sequence));
  return ++s.last_id;
}

bool BatchEngine::cancel(uint64_t id) {
  State& s = *state_;
  const auto is_it = [id](const std::unique_ptr<Sequence>& sequence) { return sequence->id == id; };
  if (const auto found = std::find_if(s.waiting.begin(), s.waiting.end(), is_it); found != s.waiting.end()) {
    s.waiting.erase(found);
    return true;
  }
  const auto found = std::find_if(s.active.begin(), s.active.end(), is_it);
  if (found == s.active.end() || (*found)->dropped || (*found)->told_end) return false;
  (*found)->dropped = true;
  if (!s.stepping) s.release(found);
  return true;
}

bool BatchEngine::step(const Progress& progress) {
  State& s = *state_;
  if (s.stepping) throw usage_error("step", "is called out of a callback of step");
  struct Stepping {
    State& state;
    explicit Stepping(State& of) : state(of) { state.stepping = true; }
    ~Stepping() {
      state.sweep();
      state.stepping = false;
    }
  };
  {
    const FloatEnvironment floats;
    const Stepping stepping(s);
    s.admit();
    s.plan();
    s.pass(progress);
    s.write_all();
    for (const std::unique_ptr<Sequence>& sequence : s.active) s.tell(*sequence);
  }
  return !s.active.empty() || !s.waiting.empty();
}

BatchEngine::Load BatchEngine::load() const {
  Load load{.active = static_cast<int64_t>(state_->active.size()),
            .waiting = static_cast<int64_t>(state_->waiting.size()),
            .kept_bytes = state_->kept.size_bytes()};
  for (const std::unique_ptr<Sequence>& s : state_->active)
    load.kv_bytes += s->cache->size_bytes() + s->drafted.size_bytes();
  return load;
}

}  // namespace attar::runtime
