/* What the C programs that test libattar_runtime share. Each exits with 0, or says the line that failed. */
#ifndef ATTAR_TESTS_C_API_CHECKS_H
#define ATTAR_TESTS_C_API_CHECKS_H

#include <stdio.h>
#include <string.h>

#include "runtime/attar_runtime.h"

#define CHECK(condition)                                                                      \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      fprintf(stderr, "%s:%d: %s; %s\n", __FILE__, __LINE__, #condition, attar_last_error()); \
      return 1;                                                                               \
    }                                                                                         \
  } while (0)

/* A text as it comes, and its tokens; stops after some calls. */
struct collected {
  char text[8192];
  size_t size;
  int32_t tokens[4096];
  size_t n_tokens;
  int calls_left; /* 0: any number */
};

static inline int collect(const char* text, size_t size_bytes, void* user) {
  struct collected* to = user;
  if (to->size + size_bytes < sizeof to->text) memcpy(to->text + to->size, text, size_bytes);
  to->size += size_bytes;
  return to->calls_left > 0 && --to->calls_left == 0;
}

static inline int collect_token(int32_t token, void* user) {
  struct collected* to = user;
  if (to->n_tokens < sizeof to->tokens / sizeof to->tokens[0]) to->tokens[to->n_tokens++] = token;
  return 0;
}

static inline attar_prompt text_prompt(const char* text) {
  const attar_prompt prompt = {.size_bytes = sizeof prompt, .text = text};
  return prompt;
}

static inline attar_generate_options collecting(struct collected* into, int64_t max_tokens) {
  attar_generate_options options;
  if (attar_init_generate_options(&options, sizeof options) != ATTAR_OK) options.size_bytes = 0;
  memset(into, 0, sizeof *into);
  options.max_tokens = max_tokens;
  options.user = into;
  options.on_text = collect;
  options.on_token = collect_token;
  return options;
}

static inline int same_text(const struct collected* a, const struct collected* b) {
  return a->size == b->size && memcmp(a->text, b->text, a->size) == 0 && a->n_tokens == b->n_tokens &&
         memcmp(a->tokens, b->tokens, a->n_tokens * sizeof a->tokens[0]) == 0;
}

#endif
