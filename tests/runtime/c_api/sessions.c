/* Several sessions over one model, callbacks, cancelling, batches, files: sessions MODEL FILE. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/runtime/c_api/checks.h"

enum { kSessions = 3, kTokens = 40, kLongWords = 500 };

static const char* const kPrompts[kSessions] = {"the cat sat", "a bat", "the mat on the hat"};
static char long_text[4 * kLongWords + 1]; /* more than three passes of 512 tokens */

struct talk {
  attar_session* session;
  struct collected got;
  int index, code;
};

static void* speak(void* argument) {
  struct talk* talk = argument;
  const attar_prompt prompt = text_prompt(kPrompts[talk->index]);
  attar_generate_options options = collecting(&talk->got, kTokens);
  options.seed = (uint64_t)talk->index;
  talk->code = attar_generate(talk->session, &prompt, &options, NULL);
  return NULL;
}

/* Each piece of the first text has the others say theirs. */
static int let_others_speak(int32_t token, void* user) {
  struct talk* talks = user;
  collect_token(token, &talks[0].got);
  for (int i = 1; i < kSessions && talks[0].got.n_tokens == 3; ++i) speak(&talks[i]);
  return 0;
}
static int collect_first(const char* text, size_t size_bytes, void* user) {
  return collect(text, size_bytes, &((struct talk*)user)->got);
}

/* Alone, out of each other's callbacks, and from a thread each, also of another model: the same bits. */
static int share_a_model(attar_model* model, attar_model* other) {
  struct collected expected[kSessions];
  struct talk talks[2 * kSessions];
  for (int i = 0; i < 2 * kSessions; ++i) {
    talks[i].session = attar_session_open(i < kSessions ? model : other);
    talks[i].index = i % kSessions;
    CHECK(talks[i].session != NULL);
  }
  for (int i = 0; i < kSessions; ++i) {
    speak(&talks[i]);
    CHECK(talks[i].code == ATTAR_OK && talks[i].got.size > 0);
    expected[i] = talks[i].got;
  }
  const attar_prompt prompt = text_prompt(kPrompts[0]);
  attar_generate_options options = collecting(&talks[0].got, kTokens);
  options.user = talks;
  options.on_text = collect_first;
  options.on_token = let_others_speak;
  for (int i = 1; i < kSessions; ++i) talks[i].got.size = 0;
  CHECK(attar_generate(talks[0].session, &prompt, &options, NULL) == ATTAR_OK);
  for (int i = 0; i < kSessions; ++i) CHECK(same_text(&talks[i].got, &expected[i]));

  pthread_t threads[2 * kSessions];
  for (int i = 0; i < 2 * kSessions; ++i) CHECK(pthread_create(&threads[i], NULL, speak, &talks[i]) == 0);
  for (int i = 0; i < 2 * kSessions; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < 2 * kSessions; ++i) {
    CHECK(talks[i].code == ATTAR_OK && same_text(&talks[i].got, &expected[talks[i].index]));
    CHECK(attar_session_free(talks[i].session) == ATTAR_OK);
  }
  return 0;
}

/* Who got a token when, of two that each hold the model for a while with every token. */
static int order[2 * kTokens], n_order;
static int note_turn(float* logits, size_t n_logits, void* user) {
  (void)logits, (void)n_logits;
  order[n_order++] = ((struct talk*)user)->index;
  usleep(3000);
  return 0;
}
static void* speak_slowly(void* argument) {
  struct talk* talk = argument;
  const attar_prompt prompt = text_prompt("the cat");
  attar_generate_options options;
  attar_init_generate_options(&options, sizeof options);
  options.max_tokens = kTokens;
  options.user = talk;
  options.on_logits = note_turn;
  talk->code = attar_generate(talk->session, &prompt, &options, NULL);
  return NULL;
}

static int takes_turns(attar_model* model) {
  struct talk talks[2] = {{.index = 0}, {.index = 1}};
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) {
    talks[i].session = attar_session_open(model);
    CHECK(pthread_create(&threads[i], NULL, speak_slowly, &talks[i]) == 0);
  }
  for (int i = 0; i < 2; ++i) {
    CHECK(pthread_join(threads[i], NULL) == 0 && talks[i].code == ATTAR_OK);
    attar_session_free(talks[i].session);
  }
  int changes = 0; /* nearly one a token; few where one has the model to itself until it is done */
  for (int i = 1; i < n_order; ++i) changes += order[i] != order[i - 1];
  fprintf(stderr, "%d tokens, %d changes of turn\n", n_order, changes);
  CHECK(n_order >= 20 && changes > n_order / 2);
  return 0;
}

/* What a session holds is not read again, and changes nothing. */
static int holds_what_it_read(attar_model* model) {
  attar_session* session = attar_session_open(model);
  struct collected first, second, again;
  attar_generated generated = {.size_bytes = sizeof generated};
  attar_prompt prompt = text_prompt("the cat sat");
  attar_generate_options options = collecting(&first, 10);
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK);
  int32_t tokens[64];
  const int64_t n = attar_session_tokens(session, tokens, 64);
  CHECK(n >= generated.prompt_tokens + 9 && n <= generated.prompt_tokens + 10);
  for (size_t i = 0; i < 9; ++i) CHECK(tokens[(size_t)generated.prompt_tokens + i] == first.tokens[i]);
  tokens[n] = 5;
  prompt = (attar_prompt){.size_bytes = sizeof prompt, .tokens = tokens, .n_tokens = (size_t)n + 1};
  attar_session* fork = attar_session_fork(session);
  CHECK(fork != NULL && attar_session_tokens(fork, NULL, 0) == n);
  options = collecting(&second, 10);
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK && generated.held_tokens == n);
  CHECK(attar_session_tokens(fork, NULL, 0) == n);
  CHECK(attar_session_truncate(fork, n + 1) == ATTAR_BAD_ARGUMENT && attar_session_truncate(fork, -1) != ATTAR_OK);
  CHECK(attar_session_truncate(fork, 2) == ATTAR_OK && attar_session_tokens(fork, NULL, 0) == 2);
  options = collecting(&again, 10);
  CHECK(attar_generate(fork, &prompt, &options, &generated) == ATTAR_OK && generated.held_tokens == 2);
  CHECK(same_text(&second, &again));
  attar_session_free(fork);
  attar_session_free(session);
  return 0;
}

struct cancelling {
  attar_session* session;
  atomic_int calls;
  int from_thread;
};

static int stop_after_two(int64_t done, int64_t total, void* user) {
  struct cancelling* state = user;
  if (done % 512 != 0 || total < done) return 2;
  if (atomic_fetch_add(&state->calls, 1) + 1 < 2) return 0;
  if (!state->from_thread) return 1;
  while (atomic_load(&state->calls) < 100) usleep(1000); /* until the other thread has cancelled */
  return 0;
}
static void* cancel(void* user) {
  struct cancelling* state = user;
  while (atomic_load(&state->calls) < 2) usleep(1000);
  if (attar_cancel(state->session) == ATTAR_OK) atomic_store(&state->calls, 100);
  return NULL;
}

/* A prompt that is broken off: by a callback, by another thread, before it began. What was read is kept, and the text
 * is the same in the end. */
static int cancels_a_prompt(attar_model* model) {
  const attar_prompt prompt = text_prompt(long_text);
  struct collected expected, got;
  attar_session* session = attar_session_open(model);
  attar_generate_options options = collecting(&expected, 5);
  attar_generated generated = {.size_bytes = sizeof generated};
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK && generated.prompt_tokens > 3 * 512);
  for (int from_thread = 0; from_thread < 2; ++from_thread) {
    struct cancelling state = {.session = session, .from_thread = from_thread};
    pthread_t thread;
    CHECK(attar_session_truncate(session, 0) == ATTAR_OK);
    if (from_thread) CHECK(pthread_create(&thread, NULL, cancel, &state) == 0);
    attar_generate_options stopping = collecting(&got, 5);
    stopping.user = &state;
    stopping.on_text = NULL;
    stopping.on_token = NULL;
    stopping.on_progress = stop_after_two;
    CHECK(attar_generate(session, &prompt, &stopping, &generated) == ATTAR_CANCELLED);
    CHECK(attar_last_code() == ATTAR_CANCELLED && generated.stop_reason == ATTAR_STOP_CANCELLED);
    if (from_thread) CHECK(pthread_join(thread, NULL) == 0);
    CHECK(generated.generated_tokens == 0 && attar_session_tokens(session, NULL, 0) == 2 * 512);
    options = collecting(&got, 5);
    CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK && generated.held_tokens == 2 * 512);
    CHECK(same_text(&expected, &got));
  }
  CHECK(attar_cancel(session) == ATTAR_OK);
  options = collecting(&got, 5);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_CANCELLED && got.n_tokens == 0);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && same_text(&expected, &got));
  /* It was meant for a call that failed before it began, and for no other. */
  const attar_prompt none = {.size_bytes = sizeof none};
  CHECK(attar_cancel(session) == ATTAR_OK);
  CHECK(attar_generate(session, &none, &options, NULL) == ATTAR_BAD_ARGUMENT);
  options = collecting(&got, 5);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && same_text(&expected, &got));
  attar_session_free(session);
  return 0;
}

/* What is wrong with options is said before a prompt is read. */
static int checks_options_first(attar_model* model) {
  const attar_prompt prompt = text_prompt(long_text);
  struct collected unused;
  attar_session* session = attar_session_open(model);
  for (int wrong = 0; wrong < 3; ++wrong) {
    attar_generate_options options = collecting(&unused, 5);
    if (wrong == 0) options.top_p = 2;
    if (wrong == 1) options.grammar = "root ::= nowhere";
    if (wrong == 2) options.lookup = 65;
    CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
    CHECK(attar_session_tokens(session, NULL, 0) == 0);
  }
  return attar_session_free(session);
}

static int third_token(int32_t token, void* user) {
  collect_token(token, user);
  return ((struct collected*)user)->n_tokens == 3;
}
static int no_logits(float* logits, size_t n_logits, void* user) {
  (void)user;
  return n_logits == 32 && isfinite(logits[0]);
}
static int only_the_cat(float* logits, size_t n_logits, void* user) {
  for (size_t i = 0; i < n_logits; ++i)
    if (i != 9) logits[i] = -INFINITY;
  return *(int*)user;
}

static int cancels_a_text(attar_model* model) {
  attar_session* session = attar_session_open(model);
  const attar_prompt prompt = text_prompt("the cat");
  attar_generated generated = {.size_bytes = sizeof generated};
  struct collected whole, got;
  attar_generate_options options = collecting(&whole, 20);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK);
  options = collecting(&got, 20);
  got.calls_left = 2;
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_CANCELLED);
  CHECK(generated.stop_reason == ATTAR_STOP_CANCELLED && generated.generated_tokens >= 2 && got.size < whole.size);
  options = collecting(&got, 20);
  options.on_token = third_token;
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_CANCELLED);
  CHECK(got.n_tokens == 3 && generated.generated_tokens == 3);
  options = collecting(&got, 20);
  options.on_logits = no_logits;
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_CANCELLED && got.n_tokens == 0);
  options = collecting(&got, 20);
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK && same_text(&whole, &got));

  int stop = 0;
  int32_t forced[8];
  options.user = &stop;
  options.on_text = NULL;
  options.on_token = NULL;
  options.on_logits = only_the_cat;
  options.max_tokens = 4;
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK && generated.generated_tokens == 4);
  CHECK(attar_session_tokens(session, forced, 8) >= generated.prompt_tokens + 3);
  attar_session_free(session);
  return 0;
}

struct again {
  attar_model* model;
  attar_session* session;
  int codes[4];
};
static int call_again(int32_t token, void* user) {
  (void)token;
  struct again* state = user;
  const attar_prompt prompt = text_prompt("the");
  state->codes[0] = attar_generate(state->session, &prompt, NULL, NULL);
  state->codes[1] = attar_session_fork(state->session) == NULL ? attar_last_code() : ATTAR_OK;
  state->codes[2] = attar_score(state->model, &prompt, NULL, NULL, 0) > 0 ? ATTAR_OK : attar_last_code();
  return 0;
}
static int call_model(float* logits, size_t n_logits, void* user) {
  (void)logits, (void)n_logits;
  struct again* state = user;
  const attar_prompt prompt = text_prompt("the");
  if (attar_score(state->model, &prompt, NULL, NULL, 0) < 0) state->codes[3] = attar_last_code();
  return 0;
}
static int free_both(int32_t token, void* user) {
  (void)token;
  struct again* state = user;
  attar_session_free(state->session);
  attar_free(state->model);
  return 0;
}

static int serves_one_call(attar_model* model, const char* path) {
  const attar_prompt prompt = text_prompt("the cat");
  struct again state = {.model = model, .session = attar_session_open(model)};
  struct collected unused;
  attar_generate_options options = collecting(&unused, 2);
  options.user = &state;
  options.on_text = NULL;
  options.on_token = call_again;
  options.on_logits = call_model;
  CHECK(attar_generate(state.session, &prompt, &options, NULL) == ATTAR_OK);
  CHECK(attar_last_code() == ATTAR_OK && strlen(attar_last_error()) == 0);
  CHECK(state.codes[0] == ATTAR_BUSY && state.codes[1] == ATTAR_BUSY);
  CHECK(state.codes[2] == ATTAR_OK && state.codes[3] == ATTAR_BUSY);
  CHECK(attar_session_free(state.session) == ATTAR_OK);

  struct again freed = {.model = attar_open(path, NULL)};
  freed.session = attar_session_open(freed.model);
  options.user = &freed;
  options.on_token = free_both;
  options.on_logits = NULL;
  attar_generated generated = {.size_bytes = sizeof generated};
  CHECK(attar_generate(freed.session, &prompt, &options, &generated) == ATTAR_OK && generated.generated_tokens == 2);
  CHECK(attar_generate(freed.session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  return 0;
}

struct answers {
  size_t n, stop_after;
  struct collected texts[kSessions];
  attar_model* model;
  int busy;
};
static int take_answer(const attar_answer* answer, void* user) {
  struct answers* to = user;
  if (answer->size_bytes != sizeof *answer || answer->index != to->n || strlen(answer->text) != answer->text_bytes)
    return 1;
  struct collected* text = &to->texts[to->n];
  text->n_tokens = 0;
  text->size = answer->text_bytes;
  memcpy(text->text, answer->text, answer->text_bytes);
  for (size_t i = 0; i < answer->n_tokens; ++i) collect_token(answer->tokens[i], text);
  const attar_prompt prompt = text_prompt("x");
  if (attar_score(to->model, &prompt, NULL, NULL, 0) < 0) to->busy = attar_last_code();
  return ++to->n == to->stop_after;
}
static int stop_at_once(int64_t done, int64_t total, void* user) {
  return done < 0 || done > total || total != kSessions || user == NULL;
}

static int answers_batches(attar_model* model) {
  attar_prompt prompts[kSessions];
  struct collected expected[kSessions];
  attar_session* session = attar_session_open(model);
  for (int i = 0; i < kSessions; ++i) {
    prompts[i] = text_prompt(kPrompts[i]);
    attar_generate_options one = collecting(&expected[i], kTokens);
    one.temperature = 0;
    CHECK(attar_generate(session, &prompts[i], &one, NULL) == ATTAR_OK);
  }
  attar_generate_options options;
  CHECK(attar_init_generate_options(&options, sizeof options) == ATTAR_OK);
  options.max_tokens = kTokens;
  options.temperature = 0;
  static struct answers got;
  for (options.batch_size = 1; options.batch_size <= kSessions; ++options.batch_size) {
    got = (struct answers){.model = model};
    CHECK(attar_batch(model, prompts, kSessions, &options, take_answer, &got) == ATTAR_OK && got.n == kSessions);
    CHECK(got.busy == ATTAR_BUSY);
    for (int i = 0; i < kSessions; ++i) CHECK(same_text(&got.texts[i], &expected[i]));
  }
  char ends[4] = {0};
  memcpy(ends, expected[0].text + 4, 2);
  const char* stops[] = {ends, "never said"};
  options.stop = stops;
  options.n_stop = 2;
  options.lookup = 3;
  got = (struct answers){.model = model};
  CHECK(attar_batch(model, prompts, kSessions, &options, take_answer, &got) == ATTAR_OK && got.n == kSessions);
  CHECK(got.texts[0].size < expected[0].size);
  for (int i = 0; i < kSessions; ++i) {
    attar_generate_options one = collecting(&expected[i], kTokens);
    one.temperature = 0;
    one.stop = stops;
    one.n_stop = 2;
    CHECK(attar_generate(session, &prompts[i], &one, NULL) == ATTAR_OK && same_text(&got.texts[i], &expected[i]));
  }
  options.n_stop = 0;
  options.lookup = 0;
  got = (struct answers){.stop_after = 2};
  CHECK(attar_batch(model, prompts, kSessions, &options, take_answer, &got) == ATTAR_CANCELLED && got.n == 2);
  got = (struct answers){.stop_after = 0};
  options.user = &got;
  options.on_progress = stop_at_once;
  CHECK(attar_batch(model, prompts, kSessions, &options, take_answer, &got) == ATTAR_OK && got.n == kSessions);
  options.user = NULL;
  CHECK(attar_batch(model, prompts, kSessions, &options, take_answer, &got) == ATTAR_CANCELLED);
  options.on_text = collect;
  CHECK(attar_batch(model, prompts, kSessions, &options, take_answer, &got) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_batch(model, prompts, 0, NULL, take_answer, &got) == ATTAR_OK);
  attar_session_free(session);
  return 0;
}

/* Vectors of several prompts are those of each alone; of one token, mean and last are the same. */
static int embeds(attar_model* model) {
  attar_model_info info = {.size_bytes = sizeof info};
  CHECK(attar_info(model, &info) == ATTAR_OK && info.width <= 64);
  const size_t width = (size_t)info.width;
  const int32_t token = 4;
  attar_prompt prompts[4] = {text_prompt("the cat"), text_prompt(long_text), text_prompt("a bat")};
  prompts[3] = (attar_prompt){.size_bytes = sizeof prompts[3], .tokens = &token, .n_tokens = 1};
  float together[4 * 64], alone[64], last[4 * 64], own[64];
  CHECK(attar_embed(model, prompts, 4, NULL, together, 4 * width - 1) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_embed(model, prompts, 4, NULL, together, 4 * width) == ATTAR_OK);
  attar_embed_options options;
  CHECK(attar_init_embed_options(&options, sizeof options) == ATTAR_OK);
  options.pooling = ATTAR_POOL_LAST;
  CHECK(attar_embed(model, prompts, 4, &options, last, 4 * width) == ATTAR_OK);
  options.pooling = ATTAR_POOL_MEAN;
  options.normalize = 0;
  for (size_t i = 0; i < 4; ++i) {
    CHECK(attar_embed(model, &prompts[i], 1, NULL, alone, width) == ATTAR_OK);
    CHECK(memcmp(alone, together + i * width, width * sizeof(float)) == 0);
    CHECK(attar_embed(model, &prompts[i], 1, &options, own, width) == ATTAR_OK);
    double length = 0, own_length = 0;
    for (size_t c = 0; c < width; ++c) length += (double)alone[c] * alone[c], own_length += (double)own[c] * own[c];
    CHECK(fabs(length - 1) < 1e-5 && fabs(own_length - 1) > 1e-3);
    for (size_t c = 0; c < width; ++c) CHECK(fabs(own[c] / sqrt(own_length) - (double)alone[c]) < 1e-6);
  }
  CHECK(memcmp(last + 3 * width, together + 3 * width, width * sizeof(float)) == 0);
  CHECK(memcmp(last, together, width * sizeof(float)) != 0);
  struct cancelling state = {.from_thread = 0};
  options.user = &state;
  options.on_progress = stop_after_two;
  CHECK(attar_embed(model, prompts, 4, &options, last, 4 * width) == ATTAR_CANCELLED);
  options.pooling = 7;
  CHECK(attar_embed(model, prompts, 4, &options, last, 4 * width) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_embed(model, prompts, 0, NULL, NULL, 0) == ATTAR_OK);
  return 0;
}

/* Another process's model, as it were: opened anew, with other threads. */
static int saves_and_restores(attar_model* model, attar_model* other, const char* path) {
  attar_session *first = attar_session_open(model), *second = attar_session_open(other);
  const attar_prompt prompt = text_prompt(long_text);
  struct collected said, unbroken, restored;
  int32_t before[4096], after[4096];
  attar_generate_options options = collecting(&said, 9);
  CHECK(attar_generate(first, &prompt, &options, NULL) == ATTAR_OK);
  CHECK(attar_session_save(first, path) == ATTAR_OK && attar_session_restore(second, path) == ATTAR_OK);
  const int64_t n = attar_session_tokens(first, before, 4096);
  CHECK(n > 512 && n < 4000 && attar_session_tokens(second, after, 4096) == n);
  CHECK(memcmp(before, after, (size_t)n * sizeof before[0]) == 0);
  for (int i = 0; i < 3; ++i) before[n + i] = 4 + i;
  const attar_prompt more = {.size_bytes = sizeof more, .tokens = before, .n_tokens = (size_t)n + 3};
  attar_generated generated = {.size_bytes = sizeof generated};
  options = collecting(&unbroken, 20);
  CHECK(attar_generate(first, &more, &options, NULL) == ATTAR_OK);
  options = collecting(&restored, 20);
  CHECK(attar_generate(second, &more, &options, &generated) == ATTAR_OK && generated.held_tokens == n);
  CHECK(same_text(&unbroken, &restored));

  FILE* file = fopen(path, "r+b");
  CHECK(file != NULL && fseek(file, 1000, SEEK_SET) == 0 && fputc(0x55, file) != EOF && fclose(file) == 0);
  const int64_t held = attar_session_tokens(second, NULL, 0);
  CHECK(attar_session_restore(second, path) == ATTAR_BAD_FILE && strstr(attar_last_error(), "damaged") != NULL);
  CHECK(attar_session_restore(second, "/nowhere/else") == ATTAR_BAD_FILE &&
        attar_session_tokens(second, NULL, 0) == held);
  CHECK(attar_session_save(second, "/proc/nowhere/else") == ATTAR_OUT_OF_RESOURCES);
  CHECK(attar_session_save(second, NULL) == ATTAR_BAD_ARGUMENT &&
        attar_session_restore(NULL, path) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_session_free(first) == ATTAR_OK && attar_session_save(first, path) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_session_free(second) == ATTAR_OK && remove(path) == 0);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  for (int i = 0; i < kLongWords; ++i) memcpy(long_text + 4 * i, "cab ", 4);
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.threads = 2;
  attar_model* model = attar_open(argv[1], &options);
  options.threads = 1;
  attar_model* other = attar_open(argv[1], &options);
  CHECK(model != NULL && other != NULL);
  CHECK(share_a_model(model, other) == 0);
  CHECK(takes_turns(model) == 0);
  CHECK(holds_what_it_read(model) == 0);
  CHECK(cancels_a_prompt(model) == 0);
  CHECK(checks_options_first(model) == 0);
  CHECK(cancels_a_text(model) == 0);
  CHECK(serves_one_call(model, argv[1]) == 0);
  CHECK(answers_batches(model) == 0);
  CHECK(embeds(model) == 0);
  CHECK(saves_and_restores(model, other, argv[2]) == 0);
  CHECK(attar_free(model) == ATTAR_OK && attar_free(other) == ATTAR_OK);
  return 0;
}
