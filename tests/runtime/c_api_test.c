/* libattar_runtime.so from plain C: c_api_test MODEL MODEL_WITH_A_NOTE. Exit code 0, or the line that failed. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/attar_runtime.h"

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) {                                                               \
      fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, attar_last_error()); \
      return 1;                                                                       \
    }                                                                                 \
  } while (0)

struct collected {
  char text[4096];
  size_t size;
  int calls_left;
};

static int collect(const char* text, size_t size_bytes, void* user) {
  struct collected* to = user;
  if (to->size + size_bytes < sizeof to->text) memcpy(to->text + to->size, text, size_bytes);
  to->size += size_bytes;
  return --to->calls_left <= 0;
}

/* Calls the model that is calling it. */
static int call_again(const char* text, size_t size_bytes, void* user) {
  (void)text;
  (void)size_bytes;
  attar_model** model = user;
  if (*model != NULL && attar_score(*model, "x", NULL, NULL, 0) == -1) *model = NULL;
  return 0;
}

static size_t address_space_bytes(void) {
  size_t pages = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%zu", &pages) != 1) pages = 0;
  if (file != NULL) fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A long text that memory is too small for, then a short one. */
static int runs_out_of_memory(attar_model* model) {
  char text[700] = "";
  for (int i = 0; i < 25; ++i) strcat(text, "the cat ");
  double expected[64], logprobs[64];
  const int64_t n = attar_score(model, "the cat sat", NULL, expected, 64);
  CHECK(n > 3);
  struct rlimit all, limit;
  CHECK(getrlimit(RLIMIT_AS, &all) == 0);
  limit = all;
  limit.rlim_cur = address_space_bytes();
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  const int64_t failed = attar_score(model, text, NULL, NULL, 0);
  CHECK(setrlimit(RLIMIT_AS, &all) == 0);
  CHECK(failed == -1 && attar_last_code() == ATTAR_OUT_OF_RESOURCES && strstr(attar_last_error(), "memory") != NULL);
  CHECK(attar_score(model, "the cat sat", NULL, logprobs, 64) == n);
  CHECK(memcmp(expected + 1, logprobs + 1, (size_t)(n - 1) * sizeof(double)) == 0);
  CHECK(attar_score(model, text, NULL, NULL, 0) > 100);
  return 0;
}

static int child_uses(attar_model* model) {
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(attar_generate(model, "the cat", NULL, NULL, NULL, NULL) == ATTAR_OK ? 0 : 1);
  }
  int status = 1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  return 0;
}

/* Both ways in which a struct's size can be wrong, and the size of a program that was built with a header of old. */
static int checks_sizes(attar_model* model) {
  attar_generate_options options;
  CHECK(attar_init_options(&options, sizeof options) == ATTAR_OK && options.size_bytes == sizeof options);
  CHECK(attar_init_options(&options, sizeof options + 8) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_init_options(&options, 8) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_init_options(NULL, sizeof options) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_init_options(&options, sizeof options) == ATTAR_OK);
  const size_t wrong[] = {0, 8, sizeof options + 8, (size_t)-1};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    options.size_bytes = wrong[i];
    CHECK(attar_generate(model, "the", &options, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);
    CHECK(strstr(attar_last_error(), "size_bytes") != NULL);
    attar_generated generated = {.size_bytes = wrong[i], .stop_reason = 77};
    CHECK(attar_generate(model, "the", NULL, NULL, NULL, &generated) == ATTAR_BAD_ARGUMENT);
    CHECK(generated.size_bytes == wrong[i] && generated.stop_reason == 77);
  }
  return 0;
}

static int says_why_it_stopped(attar_model* model) {
  attar_generate_options options;
  CHECK(attar_init_options(&options, sizeof options) == ATTAR_OK);
  options.max_tokens = 5;
  attar_generated generated = {.size_bytes = sizeof generated};
  struct collected whole = {.calls_left = 1000}, cut = {.calls_left = 1};
  CHECK(attar_generate(model, "the cat", &options, collect, &whole, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_MAX_TOKENS && generated.generated_tokens == 5);
  CHECK(generated.prompt_tokens > 1 && generated.size_bytes == sizeof generated);
  CHECK(attar_generate(model, "the cat", &options, collect, &cut, &generated) == ATTAR_CANCELLED);
  CHECK(attar_last_code() == ATTAR_CANCELLED && generated.stop_reason == ATTAR_STOP_CANCELLED);
  const char* stop[] = {"nowhere in it", whole.text};
  options.stop = stop;
  options.n_stop = 2;
  struct collected none = {.calls_left = 1000};
  CHECK(attar_generate(model, "the cat", &options, collect, &none, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_TEXT && none.size == 0);
  options.n_stop = 0;
  options.max_tokens = 1000000;
  CHECK(attar_generate(model, "the cat", &options, NULL, NULL, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_END_OF_TEXT || generated.stop_reason == ATTAR_STOP_CONTEXT_FULL);
  options.top_p = 2.0;
  CHECK(attar_generate(model, "the cat", &options, NULL, NULL, &generated) == ATTAR_BAD_ARGUMENT);
  CHECK(generated.stop_reason == 0 && generated.generated_tokens == 0);
  return 0;
}

/* The same text with guesses of two kinds and without; int8 keys and values. */
static int opens_as_told(const char* path, const char* other_vocabulary) {
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK && options.size_bytes == sizeof options);
  CHECK(attar_init_open_options(&options, 8) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.kv = "int8";
  options.threads = 2;
  attar_model* plain = attar_open_with(path, &options);
  options.draft = path;
  attar_model* guessing = attar_open_with(path, &options);
  CHECK(plain != NULL && guessing != NULL);
  attar_generate_options how;
  CHECK(attar_init_options(&how, sizeof how) == ATTAR_OK);
  how.max_tokens = 20;
  struct collected expected = {.calls_left = 1000}, drafted = {.calls_left = 1000}, looked_up = {.calls_left = 1000};
  attar_generated generated = {.size_bytes = sizeof generated};
  CHECK(attar_generate(plain, "the cat", &how, collect, &expected, &generated) == ATTAR_OK);
  CHECK(generated.guessed_tokens == 0 && generated.passes >= generated.generated_tokens);
  CHECK(attar_generate(guessing, "the cat", &how, collect, &drafted, &generated) == ATTAR_OK);
  CHECK(generated.accepted_tokens > 0 && generated.passes < generated.generated_tokens);
  how.lookup = 8;
  CHECK(attar_generate(plain, "the cat", &how, collect, &looked_up, &generated) == ATTAR_OK);
  CHECK(expected.size > 0 && drafted.size == expected.size && looked_up.size == expected.size);
  CHECK(memcmp(expected.text, drafted.text, expected.size) == 0);
  CHECK(memcmp(expected.text, looked_up.text, expected.size) == 0);
  how.lookup = -1;
  CHECK(attar_generate(plain, "the cat", &how, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);
  attar_free(plain);
  attar_free(guessing);
  options.draft = other_vocabulary;
  CHECK(attar_open_with(path, &options) == NULL && strstr(attar_last_error(), "another vocabulary") != NULL);
  options.draft = NULL;
  options.kv = "int4";
  CHECK(attar_open_with(path, &options) == NULL && strstr(attar_last_error(), "f16 or int8") != NULL);
  options.kv = "int8";
  options.fp32 = 1;
  CHECK(attar_open_with(path, &options) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
  options.size_bytes = 3;
  CHECK(attar_open_with(path, &options) == NULL && strstr(attar_last_error(), "size_bytes") != NULL);
  return 0;
}

static int shows_notes(attar_model* model, const char* noted) {
  CHECK(attar_note_count(model) == 0 && attar_note(model, 0) == NULL);
  CHECK(attar_note_count(NULL) == 0 && attar_note(NULL, 0) == NULL);
  attar_model* other = attar_open(noted, 1, 0);
  CHECK(other != NULL && attar_note_count(other) == 1 && attar_note(other, 1) == NULL);
  CHECK(strstr(attar_note(other, 0), "no pre-tokenizer") != NULL);
  attar_free(other);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  attar_model* model = attar_open(argv[1], 2, 1);
  CHECK(model != NULL);

  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", ATTAR_VERSION_MAJOR, ATTAR_VERSION_MINOR, ATTAR_VERSION_PATCH);
  CHECK(strcmp(attar_version(), version) == 0);
  CHECK(checks_sizes(model) == 0);
  CHECK(says_why_it_stopped(model) == 0);
  CHECK(shows_notes(model, argv[2]) == 0);
  CHECK(opens_as_told(argv[1], argv[2]) == 0);

  attar_generate_options options;
  CHECK(attar_init_options(&options, sizeof options) == ATTAR_OK);
  options.max_tokens = 12;
  options.seed = 5;
  options.temperature = 1.0;
  struct collected first = {.calls_left = 1000}, second = {.calls_left = 1000}, stopped = {.calls_left = 1};
  CHECK(attar_generate(model, "the cat", &options, collect, &first, NULL) == 0);
  CHECK(attar_generate(model, "the cat", &options, collect, &second, NULL) == 0);
  CHECK(first.size > 0 && first.size == second.size && memcmp(first.text, second.text, first.size) == 0);
  CHECK(attar_generate(model, "the cat", &options, collect, &stopped, NULL) == ATTAR_CANCELLED);
  CHECK(attar_generate(model, "the cat", NULL, NULL, NULL, NULL) == 0);
  struct collected spelled = {.calls_left = 1000}, meant = {.calls_left = 1000};
  options.chat = 1;
  CHECK(attar_generate(model, "the</s>cat", &options, collect, &spelled, NULL) == 0);
  options.special = 1;
  CHECK(attar_generate(model, "the</s>cat", &options, collect, &meant, NULL) == 0);
  CHECK(spelled.size != meant.size || memcmp(spelled.text, meant.text, meant.size) != 0);
  options.chat = options.special = 0;
  options.top_p = 2.0;
  CHECK(attar_generate(model, "the cat", &options, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(strstr(attar_last_error(), "top-p") != NULL);

  options.top_p = 1.0;
  options.max_tokens = -1;
  CHECK(attar_generate(model, "the cat", &options, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT &&
        strstr(attar_last_error(), "max_tokens") != NULL);
  options.max_tokens = 2;
  options.n_stop = 1;
  CHECK(attar_generate(model, "the cat", &options, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT &&
        strstr(attar_last_error(), "stop") != NULL);

  int32_t tokens[64];
  double logprobs[64];
  const int64_t n = attar_score(model, "the cat sat", tokens, logprobs, 64);
  CHECK(n > 3 && isnan(logprobs[0]));
  for (int64_t i = 1; i < n; ++i) CHECK(logprobs[i] < 0.0 && tokens[i] >= 0);
  int32_t one = -7;
  CHECK(attar_score(model, "the cat sat", &one, NULL, 1) == n && one == tokens[0]);
  CHECK(attar_score(model, "\xff", NULL, NULL, 0) == -1 && strlen(attar_last_error()) > 0);
  CHECK(attar_score(NULL, "x", NULL, NULL, 0) == -1);
  CHECK(attar_generate(model, NULL, NULL, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);

  attar_model* called = model;
  CHECK(attar_generate(model, "the cat", NULL, call_again, &called, NULL) == 0 && called == NULL);
  CHECK(attar_last_code() == ATTAR_OK && strlen(attar_last_error()) == 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(runs_out_of_memory(model) == 0);
  CHECK(child_uses(model) == 0);
#endif
  attar_free(model);
  attar_free(NULL);

  CHECK(attar_open("/nowhere/model.gguf", 1, 0) == NULL && attar_last_code() == ATTAR_BAD_FILE);
  CHECK(strstr(attar_last_error(), "/nowhere/model.gguf") != NULL);
  CHECK(attar_open(NULL, 1, 0) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
  CHECK(attar_open(argv[1], -1, 0) == NULL);
  return 0;
}
