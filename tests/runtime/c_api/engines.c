/* Engines: many texts at once, cancelling, what they hold: engines MODEL. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/runtime/c_api/checks.h"

enum { kTexts = 6, kTokens = 30, kLongWords = 300 };

static char long_text[4 * kLongWords + 1];
static const char* const kPrompts[kTexts] = {"the cat sat", "a bat", "the mat on the hat", long_text, "the cat", ""};

struct text {
  struct collected got;
  int n_ends, code, stop_reason;
  int64_t id, held_tokens, accepted_tokens;
  char error[256];
  attar_engine* engine;
  struct text* victim; /* to cancel at the third token */
  int codes[4];
};

static void note_end(const attar_ended* ended, void* user) {
  struct text* to = user;
  ++to->n_ends;
  to->code = ended->code;
  to->stop_reason = ended->stop_reason;
  to->held_tokens = ended->held_tokens;
  to->accepted_tokens = ended->accepted_tokens;
  snprintf(to->error, sizeof to->error, "%s", ended->error);
  if (ended->size_bytes != sizeof *ended || ended->id != to->id || strlen(ended->text) != ended->text_bytes)
    to->code = -1;
  if (ended->code == ATTAR_OK && (ended->n_tokens != to->got.n_tokens || ended->text_bytes != to->got.size))
    to->code = -2;
}

static attar_generate_options options_of(struct text* to, int i) {
  attar_generate_options options = collecting(&to->got, kTokens - 3 * i);
  options.user = to; /* whose first member takes text and tokens */
  options.seed = (uint64_t)i;
  options.lookup = i % 2 == 0 ? 0 : 3;
  return options;
}

/* What attar_generate gives. */
static int alone(attar_model* model, int i, struct text* to) {
  memset(to, 0, sizeof *to);
  const attar_prompt prompt = text_prompt(kPrompts[i]);
  const attar_generate_options options = options_of(to, i);
  attar_session* session = attar_session_open(model);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK);
  return attar_session_free(session);
}

static int64_t submit(attar_engine* engine, int i, struct text* to) {
  memset(to, 0, sizeof *to);
  to->engine = engine;
  const attar_prompt prompt = text_prompt(kPrompts[i]);
  const attar_generate_options options = options_of(to, i);
  to->id = attar_engine_submit(engine, &prompt, &options, note_end);
  return to->id;
}

static int run(attar_engine* engine) {
  int64_t left = 0;
  do left = attar_engine_step(engine);
  while (left > 0);
  return (int)left;
}

static struct text expected[kTexts], got[kTexts];

static int writes_what_sessions_write(attar_model* model) {
  for (int i = 0; i < kTexts; ++i) CHECK(alone(model, i, &expected[i]) == 0);
  attar_engine_options how;
  for (int64_t n = 1; n <= kTexts; n += 2) {
    CHECK(attar_init_engine_options(&how, sizeof how) == ATTAR_OK);
    how.max_texts = n;
    how.prompt_tokens = 20;
    attar_engine* engine = attar_engine_open(model, &how);
    CHECK(engine != NULL);
    for (int i = 0; i < kTexts; ++i) CHECK(submit(engine, i, &got[i]) == i + 1);
    attar_engine_load load = {.size_bytes = sizeof load};
    CHECK(attar_engine_get_load(engine, &load) == ATTAR_OK && load.waiting == kTexts && load.active == 0);
    CHECK(attar_engine_step(engine) >= 0 && attar_engine_get_load(engine, &load) == ATTAR_OK);
    CHECK(load.active <= n && load.kv_bytes > 0);
    CHECK(run(engine) == 0);
    for (int i = 0; i < kTexts; ++i) {
      CHECK(same_text(&expected[i].got, &got[i].got));
      CHECK(got[i].n_ends == 1 && got[i].code == ATTAR_OK && got[i].stop_reason != ATTAR_STOP_CANCELLED);
      CHECK(strlen(got[i].error) == 0);
    }
    CHECK(attar_engine_get_load(engine, &load) == ATTAR_OK && load.active == 0 && load.kv_bytes == 0);
    CHECK(load.kept_bytes > 0);
    CHECK(submit(engine, 3, &got[0]) == kTexts + 1 && run(engine) == 0);
    CHECK(got[0].held_tokens > kLongWords && same_text(&expected[3].got, &got[0].got));
    CHECK(attar_engine_free(engine) == ATTAR_OK);
  }
  return 0;
}

/* The same where a draft guesses for all of them: here the model itself. */
static int writes_the_same_with_a_draft(const char* path) {
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.threads = 2;
  options.draft = path;
  attar_model* model = attar_open(path, &options);
  attar_engine* engine = attar_engine_open(model, NULL);
  CHECK(engine != NULL);
  for (int i = 0; i < kTexts; ++i) CHECK(submit(engine, i, &got[i]) == i + 1);
  CHECK(run(engine) == 0);
  int64_t accepted_tokens = 0;
  for (int i = 0; i < kTexts; ++i) {
    CHECK(got[i].code == ATTAR_OK && same_text(&expected[i].got, &got[i].got));
    accepted_tokens += got[i].accepted_tokens;
  }
  CHECK(accepted_tokens > 0);
  CHECK(attar_engine_free(engine) == ATTAR_OK);
  return attar_free(model);
}

static int cancel_another(int32_t token, void* user) {
  struct text* text = user;
  collect_token(token, &text->got);
  if (text->got.n_tokens == 3 && text->victim != NULL) {
    text->codes[0] = attar_engine_cancel(text->engine, text->victim->id);
    text->codes[1] = attar_engine_cancel(text->engine, text->victim->id);
    text->codes[2] = attar_engine_step(text->engine) < 0 ? attar_last_code() : ATTAR_OK;
    text->codes[3] = attar_engine_submit(text->engine, NULL, NULL, NULL) < 0 ? attar_last_code() : ATTAR_OK;
  }
  return 0;
}
static int no_number(float* logits, size_t n_logits, void* user) {
  (void)user;
  for (size_t i = 0; i < n_logits; ++i) logits[i] = NAN;
  return 0;
}
static int stop_at_once(int32_t token, void* user) {
  collect_token(token, user);
  return 1;
}

static int cancels(attar_model* model) {
  attar_engine* engine = attar_engine_open(model, NULL);
  struct text* texts = calloc(4, sizeof *texts);
  CHECK(texts != NULL && submit(engine, 0, &texts[0]) == 1);
  const attar_prompt prompt = text_prompt("a bat");
  attar_generate_options options = options_of(&texts[1], 0);
  texts[1] = (struct text){.engine = engine, .victim = &texts[0]};
  options.on_token = cancel_another;
  texts[1].id = attar_engine_submit(engine, &prompt, &options, note_end);
  options = options_of(&texts[2], 0);
  options.on_logits = no_number;
  texts[2].id = attar_engine_submit(engine, &prompt, &options, note_end);
  options = options_of(&texts[3], 0);
  options.on_token = stop_at_once;
  texts[3].id = attar_engine_submit(engine, &prompt, &options, note_end);
  CHECK(run(engine) == 0);
  CHECK(texts[0].n_ends == 0 && texts[0].got.n_tokens <= 3);
  CHECK(texts[1].n_ends == 1 && texts[1].code == ATTAR_OK && texts[1].got.n_tokens > 3);
  CHECK(texts[1].codes[0] == ATTAR_OK && texts[1].codes[1] == ATTAR_BAD_ARGUMENT);
  CHECK(texts[1].codes[2] == ATTAR_BUSY && texts[1].codes[3] == ATTAR_BAD_ARGUMENT);
  CHECK(texts[2].n_ends == 1 && texts[2].code == ATTAR_BAD_FILE && strlen(texts[2].error) > 0);
  CHECK(texts[3].n_ends == 1 && texts[3].code == ATTAR_CANCELLED && texts[3].stop_reason == ATTAR_STOP_CANCELLED);
  CHECK(texts[3].got.n_tokens == 1);
  CHECK(attar_engine_cancel(engine, texts[1].id) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_engine_cancel(engine, 0) == ATTAR_BAD_ARGUMENT && attar_engine_cancel(engine, -1) == ATTAR_BAD_ARGUMENT);
  free(texts);
  return attar_engine_free(engine);
}

/* Engines and sessions of one model, from a thread each. */
static void* run_engine(void* argument) {
  struct text* text = argument;
  for (int i = 0; i < 3; ++i)
    if (submit(text->engine, 0, text) < 0 || run(text->engine) != 0) text->code = -3;
  return NULL;
}
static int shares_a_model(attar_model* model) {
  pthread_t threads[2];
  attar_engine* engines[2];
  for (int i = 0; i < 2; ++i) {
    engines[i] = attar_engine_open(model, NULL);
    got[i] = (struct text){.engine = engines[i]};
    CHECK(pthread_create(&threads[i], NULL, run_engine, &got[i]) == 0);
  }
  CHECK(alone(model, 0, &got[2]) == 0 && same_text(&got[2].got, &expected[0].got));
  for (int i = 0; i < 2; ++i) {
    CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(got[i].code == ATTAR_OK && same_text(&got[i].got, &expected[0].got));
    CHECK(attar_engine_free(engines[i]) == ATTAR_OK);
  }
  return 0;
}

/* Calls of other threads come in between the steps of one that does nothing but step. */
struct stepping {
  attar_engine* engine;
  atomic_int tokens, ended; /* of the long text; short ones */
  int left;
};
static int wait_a_little(int32_t token, void* user) {
  (void)token;
  atomic_fetch_add(&((struct stepping*)user)->tokens, 1);
  usleep(1000);
  return 0;
}
static void count_end(const attar_ended* ended, void* user) {
  (void)ended;
  atomic_fetch_add(&((struct stepping*)user)->ended, 1);
}
static void* step_on(void* argument) {
  struct stepping* stepping = argument;
  stepping->left = run(stepping->engine);
  return NULL;
}
static int lets_others_in(attar_model* model) {
  enum { kLongText = 2000 };
  attar_model_info info = {.size_bytes = sizeof info};
  CHECK(attar_info(model, &info) == ATTAR_OK && info.eos >= 0);
  const float never = -INFINITY;
  static struct stepping stepping;
  stepping.engine = attar_engine_open(model, NULL);
  const attar_prompt prompt = text_prompt("the cat");
  attar_generate_options options;
  CHECK(attar_init_generate_options(&options, sizeof options) == ATTAR_OK);
  options.max_tokens = kLongText;
  options.user = &stepping;
  options.on_token = wait_a_little;
  options.bias_tokens = &info.eos;
  options.biases = &never;
  options.n_biases = 1;
  const int64_t long_one = attar_engine_submit(stepping.engine, &prompt, &options, NULL);
  pthread_t thread;
  CHECK(long_one == 1 && pthread_create(&thread, NULL, step_on, &stepping) == 0);
  while (atomic_load(&stepping.tokens) == 0) usleep(100);
  options.max_tokens = 3;
  options.on_token = NULL;
  for (int i = 1; i <= 5; ++i) {
    attar_engine_load load = {.size_bytes = sizeof load};
    CHECK(attar_engine_submit(stepping.engine, &prompt, &options, count_end) == i + 1);
    CHECK(attar_engine_get_load(stepping.engine, &load) == ATTAR_OK && load.active > 0);
    while (atomic_load(&stepping.ended) < i) usleep(100);
  }
  CHECK(attar_engine_cancel(stepping.engine, long_one) == ATTAR_OK); /* it is still being written */
  CHECK(pthread_join(thread, NULL) == 0 && stepping.left == 0);
  CHECK(atomic_load(&stepping.tokens) < kLongText);
  return attar_engine_free(stepping.engine);
}

static int refuses(attar_model* model) {
  attar_engine_options how;
  CHECK(attar_init_engine_options(&how, sizeof how + 8) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_init_engine_options(NULL, sizeof how) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_init_engine_options(&how, sizeof how) == ATTAR_OK);
  how.max_texts = 0;
  CHECK(attar_engine_open(model, &how) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
  CHECK(strncmp(attar_last_error(), "max_texts:", 10) == 0);
  CHECK(attar_init_engine_options(&how, sizeof how) == ATTAR_OK);
  how.max_kv_bytes = 1;
  attar_engine* engine = attar_engine_open(model, &how);
  const attar_prompt prompt = text_prompt("the");
  CHECK(engine != NULL && attar_engine_submit(engine, &prompt, NULL, NULL) == -1);
  CHECK(attar_last_code() == ATTAR_BAD_ARGUMENT && strstr(attar_last_error(), "keys and values") != NULL);
  CHECK(attar_engine_step(engine) == 0);
  attar_engine_load load = {.size_bytes = 8};
  CHECK(attar_engine_get_load(engine, &load) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_engine_get_load(engine, NULL) == ATTAR_BAD_ARGUMENT);
  attar_engine* const wrong[] = {NULL, (attar_engine*)model, (attar_engine*)-1};
  for (int i = 0; i < 3; ++i) {
    CHECK(attar_engine_submit(wrong[i], &prompt, NULL, NULL) == -1 && attar_engine_step(wrong[i]) == -1);
    CHECK(attar_engine_cancel(wrong[i], 1) == ATTAR_BAD_ARGUMENT);
    CHECK(i == 0 || attar_engine_free(wrong[i]) == ATTAR_BAD_ARGUMENT);
  }
  CHECK(attar_engine_open(NULL, NULL) == NULL && attar_engine_open((attar_model*)engine, NULL) == NULL);
  CHECK(attar_free((attar_model*)engine) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_engine_free(engine) == ATTAR_OK && attar_engine_step(engine) == -1 &&
        attar_engine_free(NULL) == ATTAR_OK);
  return 0;
}

/* It keeps what it needs of its model. */
static int outlives_its_model(const char* path) {
  attar_model* model = attar_open(path, NULL);
  attar_engine* engine = attar_engine_open(model, NULL);
  CHECK(submit(engine, 0, &got[0]) == 1 && attar_engine_step(engine) == 1);
  CHECK(attar_free(model) == ATTAR_OK && run(engine) == 0);
  CHECK(same_text(&got[0].got, &expected[0].got));
  CHECK(submit(engine, 1, &got[1]) == 2 && attar_engine_step(engine) == 1);
  CHECK(attar_engine_free(engine) == ATTAR_OK && got[1].n_ends == 0);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  for (int i = 0; i < kLongWords; ++i) memcpy(long_text + 4 * i, "cab ", 4);
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.threads = 2;
  attar_model* model = attar_open(argv[1], &options);
  CHECK(model != NULL);
  CHECK(writes_what_sessions_write(model) == 0);
  CHECK(cancels(model) == 0);
  CHECK(shares_a_model(model) == 0);
  CHECK(lets_others_in(model) == 0);
  CHECK(refuses(model) == 0);
  CHECK(attar_free(model) == ATTAR_OK);
  CHECK(outlives_its_model(argv[1]) == 0);
  CHECK(writes_the_same_with_a_draft(argv[1]) == 0);
  return 0;
}
