/* What the header promises of single calls: contract MODEL MODEL_WITH_A_NOTE_AND_ANOTHER_VOCABULARY. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/runtime/c_api/checks.h"

/* A struct's size that is wrong in one way or another, for an init function. */
#define CHECK_SIZES(init, options)                                    \
  CHECK(init(&(options), sizeof(options)) == ATTAR_OK);               \
  CHECK((options).size_bytes == sizeof(options));                     \
  CHECK(init(&(options), sizeof(options) + 8) == ATTAR_BAD_ARGUMENT); \
  CHECK(init(&(options), 8) == ATTAR_BAD_ARGUMENT);                   \
  CHECK(init(NULL, sizeof(options)) == ATTAR_BAD_ARGUMENT);           \
  CHECK(init(&(options), sizeof(options)) == ATTAR_OK)

static int checks_sizes(attar_model* model, attar_session* session) {
  attar_open_options opening;
  attar_generate_options generating;
  attar_embed_options embedding;
  CHECK_SIZES(attar_init_open_options, opening);
  CHECK_SIZES(attar_init_generate_options, generating);
  CHECK_SIZES(attar_init_embed_options, embedding);
  const size_t wrong[] = {0, 8, 4096, (size_t)-1};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    opening.size_bytes = generating.size_bytes = embedding.size_bytes = wrong[i];
    attar_prompt prompt = text_prompt("the");
    float vector[64];
    CHECK(attar_open("x", &opening) == NULL && strstr(attar_last_error(), "size_bytes") != NULL);
    CHECK(attar_generate(session, &prompt, &generating, NULL) == ATTAR_BAD_ARGUMENT);
    CHECK(strstr(attar_last_error(), "size_bytes") != NULL);
    CHECK(attar_embed(model, &prompt, 1, &embedding, vector, 64) == ATTAR_BAD_ARGUMENT);
    attar_generated generated = {.size_bytes = wrong[i], .stop_reason = 77};
    CHECK(attar_generate(session, &prompt, NULL, &generated) == ATTAR_BAD_ARGUMENT);
    CHECK(generated.size_bytes == wrong[i] && generated.stop_reason == 77);
    attar_model_info info = {.size_bytes = wrong[i], .width = 77};
    CHECK(attar_info(model, &info) == ATTAR_BAD_ARGUMENT && info.width == 77);
    prompt.size_bytes = wrong[i];
    CHECK(attar_tokenize(model, &prompt, NULL, 0) == -1 && attar_last_code() == ATTAR_BAD_ARGUMENT);
  }
  return 0;
}

/* Each function with nothing, with a handle of the other kind, and with one that is closed. */
static int refuses_handles(attar_model* model, attar_session* session) {
  attar_model* closed_model = attar_open("nowhere.gguf", NULL);
  CHECK(closed_model == NULL && attar_last_code() == ATTAR_BAD_FILE);
  attar_session* closed_session = attar_session_fork(session);
  CHECK(closed_session != NULL && attar_session_free(closed_session) == ATTAR_OK);
  attar_model* const models[] = {NULL, (attar_model*)session, (attar_model*)closed_session, (attar_model*)-1};
  attar_session* const sessions[] = {NULL, (attar_session*)model, closed_session, (attar_session*)-1};
  const attar_prompt prompt = text_prompt("the");
  attar_model_info info = {.size_bytes = sizeof info};
  float vector[64];
  for (int i = 0; i < 4; ++i) {
    attar_model* m = models[i];
    attar_session* s = sessions[i];
    CHECK(attar_info(m, &info) == ATTAR_BAD_ARGUMENT);
    CHECK(attar_note_count(m) == 0 && attar_note(m, 0) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
    CHECK(attar_tokenize(m, &prompt, NULL, 0) == -1 && attar_last_code() == ATTAR_BAD_ARGUMENT);
    CHECK(attar_detokenize(m, NULL, 0, 0, NULL, 0) == -1 && attar_render(m, &prompt, NULL, 0) == -1);
    CHECK(attar_score(m, &prompt, NULL, NULL, 0) == -1 && attar_session_open(m) == NULL);
    CHECK(attar_embed(m, &prompt, 1, NULL, vector, 64) == ATTAR_BAD_ARGUMENT);
    CHECK(attar_batch(m, &prompt, 1, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);
    CHECK(attar_generate(s, &prompt, NULL, NULL) == ATTAR_BAD_ARGUMENT);
    CHECK(attar_session_fork(s) == NULL && attar_session_tokens(s, NULL, 0) == -1);
    CHECK(attar_session_truncate(s, 0) == ATTAR_BAD_ARGUMENT && attar_cancel(s) == ATTAR_BAD_ARGUMENT);
    CHECK(strlen(attar_last_error()) > 0);
    CHECK(i == 0 || (attar_free(m) == ATTAR_BAD_ARGUMENT && attar_session_free(s) == ATTAR_BAD_ARGUMENT));
  }
  CHECK(attar_free(NULL) == ATTAR_OK && attar_session_free(NULL) == ATTAR_OK);
  CHECK(attar_generate(session, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_open(NULL, NULL) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
  CHECK(attar_open_memory(NULL, 8, NULL) == NULL && attar_open_fd(-1, NULL) == NULL);
  CHECK(attar_batch(model, &prompt, 1, NULL, NULL, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_embed(model, &prompt, 1, NULL, NULL, 64) == ATTAR_BAD_ARGUMENT);
  return 0;
}

static int refuses_prompts(attar_model* model) {
  const int32_t tokens[] = {1, 1000};
  const attar_message no_role = {.content = "x"}, no_content = {.role = "user"};
  const attar_prompt wrong[] = {
      {.size_bytes = sizeof(attar_prompt)},
      {.size_bytes = sizeof(attar_prompt), .text = "x", .tokens = tokens, .n_tokens = 1},
      {.size_bytes = sizeof(attar_prompt), .messages = &no_role, .n_messages = 0},
      {.size_bytes = sizeof(attar_prompt), .messages = &no_role, .n_messages = 1},
      {.size_bytes = sizeof(attar_prompt), .messages = &no_content, .n_messages = 1},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i)
    CHECK(attar_tokenize(model, &wrong[i], NULL, 0) == -1 && attar_last_code() == ATTAR_BAD_ARGUMENT);
  const attar_prompt outside = {.size_bytes = sizeof outside, .tokens = tokens, .n_tokens = 2};
  CHECK(attar_tokenize(model, &outside, NULL, 0) == -1 && attar_last_code() == ATTAR_BAD_FILE);
  CHECK(attar_detokenize(model, tokens, 2, 0, NULL, 0) == -1);
  const attar_prompt not_utf8 = text_prompt("\xff"), text = text_prompt("the");
  CHECK(attar_score(model, &not_utf8, NULL, NULL, 0) == -1 && strlen(attar_last_error()) > 0);
  CHECK(attar_render(model, &text, NULL, 0) == -1 && attar_last_code() == ATTAR_BAD_ARGUMENT);
  return 0;
}

static int reads_and_writes_tokens(attar_model* model) {
  const attar_prompt prompt = text_prompt("the cat sat");
  int32_t tokens[64], one = -7;
  const int64_t n = attar_tokenize(model, &prompt, tokens, 64);
  CHECK(n > 3 && attar_tokenize(model, &prompt, NULL, 0) == n);
  CHECK(attar_tokenize(model, &prompt, &one, 1) == n && one == tokens[0]);
  attar_prompt part = prompt;
  part.text_bytes = 7;
  const int64_t n_part = attar_tokenize(model, &part, NULL, 0);
  CHECK(n_part > 1 && n_part < n);

  char text[64], cut[4] = "???";
  const int64_t bytes = attar_detokenize(model, tokens, (size_t)n, 0, text, sizeof text);
  CHECK(bytes == 11 && strcmp(text, "the cat sat") == 0);
  CHECK(attar_detokenize(model, tokens, (size_t)n, 0, cut, 2) == 11 && memcmp(cut, "th?", 3) == 0);
  CHECK(attar_detokenize(model, tokens, (size_t)n, 1, NULL, 0) > 11);

  const attar_message messages[] = {{.role = "user", .content = "the</s>cat"}, {.role = "assistant", .content = "sat"}};
  attar_prompt chat = {.size_bytes = sizeof chat, .messages = messages, .n_messages = 2};
  CHECK(attar_render(model, &chat, text, sizeof text) == 21 && strcmp(text, "the</s>cat sat answer") == 0);
  const int64_t spelled = attar_tokenize(model, &chat, NULL, 0);
  chat.special = 1;
  CHECK(attar_tokenize(model, &chat, NULL, 0) < spelled);
  chat.complete = 1;
  CHECK(attar_render(model, &chat, text, sizeof text) == 15);

  double logprobs[64];
  CHECK(attar_score(model, &prompt, NULL, logprobs, 64) == n && isnan(logprobs[0]));
  for (int64_t i = 1; i < n; ++i) CHECK(logprobs[i] < 0.0);
  const attar_prompt same = {.size_bytes = sizeof same, .tokens = tokens, .n_tokens = (size_t)n};
  double again[64];
  CHECK(attar_score(model, &same, NULL, again, 64) == n);
  CHECK(memcmp(logprobs + 1, again + 1, (size_t)(n - 1) * sizeof(double)) == 0);
  return 0;
}

static int says_why_it_stopped(attar_session* session) {
  const attar_prompt prompt = text_prompt("the cat");
  attar_generated generated = {.size_bytes = sizeof generated};
  struct collected whole, other;
  attar_generate_options options = collecting(&whole, 5);
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_MAX_TOKENS && generated.generated_tokens == 5 && whole.n_tokens == 5);
  CHECK(generated.prompt_tokens > 1 && generated.size_bytes == sizeof generated && generated.held_tokens == 0);
  const char* stop[] = {"nowhere in it", whole.text};
  options = collecting(&other, 5);
  options.stop = stop;
  options.n_stop = 2;
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_TEXT && other.size == 0);
  CHECK(generated.held_tokens == generated.prompt_tokens - 1);
  options = collecting(&other, 1000000);
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_END_OF_TEXT || generated.stop_reason == ATTAR_STOP_CONTEXT_FULL);
  options = collecting(&other, 0);
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK);
  CHECK(generated.stop_reason == ATTAR_STOP_MAX_TOKENS && other.n_tokens == 0);

  options.top_p = 2.0;
  CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_BAD_ARGUMENT);
  CHECK(strncmp(attar_last_error(), "top_p:", 6) == 0);
  CHECK(generated.stop_reason == 0 && generated.generated_tokens == 0);
  options.top_p = 1.0;
  const int32_t token = 4;
  const float too_much = 1001;
  options.bias_tokens = &token;
  options.biases = &too_much;
  options.n_biases = 1;
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(strncmp(attar_last_error(), "biases:", 7) == 0);
  options.n_biases = 0;
  options.max_tokens = -1;
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  options.max_tokens = 2;
  options.n_stop = 1;
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(strstr(attar_last_error(), "stop") != NULL);
  return 0;
}

static int take_answer(const attar_answer* answer, void* user) {
  struct collected* into = user;
  return answer->stop_reason != ATTAR_STOP_END_OF_TEXT || collect(answer->text, answer->text_bytes, into);
}

static int keeps_to_grammars(attar_model* model, attar_session* session) {
  const attar_prompt prompt = text_prompt("the cat");
  struct collected out;
  attar_generated generated = {.size_bytes = sizeof generated};
  attar_generate_options options = collecting(&out, 20);
  options.grammar = "root ::= (\"a\" | \"e\") \" \" (\"mat\" | \"hat\")";
  options.temperature = 1.0;
  for (options.seed = 0; options.seed < 8; ++options.seed) {
    memset(&out, 0, sizeof out);
    CHECK(attar_generate(session, &prompt, &options, &generated) == ATTAR_OK);
    CHECK(generated.stop_reason == ATTAR_STOP_END_OF_TEXT && out.size == 5);
    CHECK((out.text[0] == 'a' || out.text[0] == 'e') && (out.text[2] == 'm' || out.text[2] == 'h'));
    CHECK(memcmp(out.text + 3, "at", 2) == 0);
  }
  struct collected batch;
  memset(&batch, 0, sizeof batch);
  attar_generate_options together = options;
  together.on_text = NULL;
  together.on_token = NULL;
  const attar_prompt both[] = {prompt, prompt};
  CHECK(attar_batch(model, both, 2, &together, take_answer, &batch) == ATTAR_OK && batch.size == 10);
  memset(&out, 0, sizeof out);
  options.seed = together.seed;
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && memcmp(out.text, batch.text, 5) == 0);

  int32_t tokens[16];
  const attar_prompt letter = text_prompt("e");
  const int64_t n = attar_tokenize(model, &letter, tokens, 16);
  const float never = -INFINITY;
  CHECK(n > 0 && n <= 16);
  options.grammar = "root ::= [ae]";
  options.bias_tokens = &tokens[n - 1];
  options.biases = &never;
  options.n_biases = 1;
  for (options.seed = 0; options.seed < 8; ++options.seed) {
    memset(&out, 0, sizeof out);
    CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && out.size == 1 && out.text[0] == 'a');
  }
  options.biases = NULL;
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  options.n_biases = 0;
  options.grammar = "root ::= [ae";
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(strstr(attar_last_error(), "grammar:1:10") != NULL);
  options.json_schema = "{\"not\": {}}";
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(strstr(attar_last_error(), "beside a grammar") != NULL);
  options.grammar = NULL;
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_ARGUMENT);
  CHECK(strstr(attar_last_error(), "json_schema at #: the keyword not") != NULL);
  options.json_schema = "{\"type\": \"object\"}"; /* no token of this vocabulary has a bracket */
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_BAD_FILE);
  CHECK(strstr(attar_last_error(), "no token of the vocabulary") != NULL);
  return 0;
}

/* The same text with guesses of two kinds and without; int8 keys and values. */
static int opens_as_told(const char* path, const char* other_vocabulary) {
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.kv = "int8";
  options.threads = 2;
  attar_model* plain = attar_open(path, &options);
  options.draft = path;
  attar_model* guessing = attar_open(path, &options);
  CHECK(plain != NULL && guessing != NULL);
  attar_session* session = attar_session_open(plain);
  attar_session* drafting = attar_session_open(guessing);
  CHECK(session != NULL && drafting != NULL);
  CHECK(attar_free(guessing) == ATTAR_OK); /* the session keeps what it needs */
  const attar_prompt prompt = text_prompt("the cat");
  struct collected expected, drafted, looked_up;
  attar_generated generated = {.size_bytes = sizeof generated};
  attar_generate_options how = collecting(&expected, 20);
  CHECK(attar_generate(session, &prompt, &how, &generated) == ATTAR_OK);
  CHECK(generated.guessed_tokens == 0 && generated.passes >= generated.generated_tokens);
  how = collecting(&drafted, 20);
  CHECK(attar_generate(drafting, &prompt, &how, &generated) == ATTAR_OK);
  CHECK(generated.accepted_tokens > 0 && generated.passes < generated.generated_tokens);
  how = collecting(&looked_up, 20);
  how.lookup = 8;
  CHECK(attar_generate(session, &prompt, &how, &generated) == ATTAR_OK);
  CHECK(expected.size > 0 && same_text(&expected, &drafted) && same_text(&expected, &looked_up));
  how.lookup = -1;
  CHECK(attar_generate(session, &prompt, &how, NULL) == ATTAR_BAD_ARGUMENT);
  attar_session_free(session);
  attar_session_free(drafting);
  attar_free(plain);
  options.draft = other_vocabulary;
  CHECK(attar_open(path, &options) == NULL && strstr(attar_last_error(), "another vocabulary") != NULL);
  options.draft = NULL;
  options.kv = "int4";
  CHECK(attar_open(path, &options) == NULL && strstr(attar_last_error(), "f16 or int8") != NULL);
  options.kv = "int8";
  options.fp32 = 1;
  CHECK(attar_open(path, &options) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
  options.kv = NULL;
  options.threads = -1;
  CHECK(attar_open(path, &options) == NULL && attar_last_code() == ATTAR_BAD_ARGUMENT);
  CHECK(attar_open("/nowhere/model.gguf", NULL) == NULL && attar_last_code() == ATTAR_BAD_FILE);
  CHECK(strstr(attar_last_error(), "/nowhere/model.gguf") != NULL);
  return 0;
}

/* By path, from memory and behind a descriptor: the same numbers. */
static int opens_from_anywhere(const char* path, attar_model* model) {
  const int descriptor = open(path, O_RDONLY);
  CHECK(descriptor >= 0);
  const off_t size = lseek(descriptor, 0, SEEK_END);
  char* bytes = malloc((size_t)size);
  CHECK(bytes != NULL && pread(descriptor, bytes, (size_t)size, 0) == size);
  CHECK(lseek(descriptor, 100, SEEK_SET) == 100);
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.fp32 = 1;
  attar_model* const others[] = {attar_open_memory(bytes, (size_t)size, &options), attar_open_fd(descriptor, &options)};
  CHECK(lseek(descriptor, 0, SEEK_CUR) == 100 && close(descriptor) == 0);
  memset(bytes, 0xee, (size_t)size); /* neither is needed any more */
  const attar_prompt prompt = text_prompt("the cat sat on the mat");
  attar_model_info info = {.size_bytes = sizeof info}, other = info;
  CHECK(attar_info(model, &info) == ATTAR_OK && info.width > 0 && info.vocabulary_tokens == 32);
  CHECK(info.file_bytes == (uint64_t)size && info.threads == 2 && info.has_chat_template == 1);
  double expected[64], logprobs[64];
  const int64_t n = attar_score(model, &prompt, NULL, expected, 64);
  for (int i = 0; i < 2; ++i) {
    CHECK(others[i] != NULL && attar_info(others[i], &other) == ATTAR_OK && other.file_bytes == info.file_bytes);
    CHECK(attar_score(others[i], &prompt, NULL, logprobs, 64) == n);
    CHECK(memcmp(expected + 1, logprobs + 1, (size_t)(n - 1) * sizeof(double)) == 0);
    CHECK(attar_free(others[i]) == ATTAR_OK);
  }
  CHECK(attar_open_memory(bytes, (size_t)size, NULL) == NULL && attar_last_code() == ATTAR_BAD_FILE);
  CHECK(strstr(attar_last_error(), "in memory") != NULL);
  free(bytes);
  int ends[2];
  CHECK(pipe(ends) == 0 && attar_open_fd(ends[0], NULL) == NULL && attar_last_code() == ATTAR_BAD_FILE);
  return 0;
}

static int shows_notes(attar_model* model, const char* noted) {
  CHECK(attar_note_count(model) == 0 && attar_note(model, 0) == NULL && attar_last_code() == ATTAR_OK);
  attar_model* other = attar_open(noted, NULL);
  CHECK(other != NULL && attar_note_count(other) == 1 && attar_note(other, 1) == NULL);
  CHECK(strstr(attar_note(other, 0), "no pre-tokenizer") != NULL);
  CHECK(attar_free(other) == ATTAR_OK);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", ATTAR_VERSION_MAJOR, ATTAR_VERSION_MINOR, ATTAR_VERSION_PATCH);
  CHECK(strcmp(attar_version(), version) == 0);
  attar_open_options options;
  CHECK(attar_init_open_options(&options, sizeof options) == ATTAR_OK);
  options.threads = 2;
  options.fp32 = 1;
  attar_model* model = attar_open(argv[1], &options);
  attar_session* session = attar_session_open(model);
  CHECK(model != NULL && session != NULL);
  CHECK(says_why_it_stopped(session) == 0);
  CHECK(checks_sizes(model, session) == 0);
  CHECK(refuses_handles(model, session) == 0);
  CHECK(refuses_prompts(model) == 0);
  CHECK(reads_and_writes_tokens(model) == 0);
  CHECK(shows_notes(model, argv[2]) == 0);
  CHECK(keeps_to_grammars(model, session) == 0);
  CHECK(opens_as_told(argv[1], argv[2]) == 0);
  CHECK(opens_from_anywhere(argv[1], model) == 0);
  CHECK(attar_free(model) == ATTAR_OK && attar_free(model) == ATTAR_BAD_ARGUMENT);
  CHECK(attar_session_free(session) == ATTAR_OK && attar_session_free(session) == ATTAR_BAD_ARGUMENT);
  return 0;
}
