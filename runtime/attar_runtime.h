/* The runtime for programs in C and for everything that can call C: libattar_runtime.so. Nothing throws and nothing
 * aborts: a call that fails says so, and attar_last_error() says why. A model serves one call at a time (another
 * meanwhile fails with 2): open it once a thread to use it on several. Its file is not needed once it is open. A child
 * that is forked may use it. Its threads take no signals of the host's. */
#ifndef ATTAR_RUNTIME_H
#define ATTAR_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTAR_API __attribute__((visibility("default")))

typedef struct attar_model attar_model;

typedef struct {
  int64_t max_tokens; /* at least 0 */
  double temperature; /* 0: the likeliest token */
  int64_t top_k;      /* 0: all */
  double top_p;       /* 1: all */
  double min_p;
  double repetition_penalty; /* 1: off */
  uint64_t seed;
  const char* const* stop; /* texts to end before */
  size_t n_stop;
  const char* system; /* the system message of a chat, or NULL */
  int chat;           /* 1: `prompt` is a user's message, put into the model's chat template */
  int special;        /* 1: control tokens that prompt and system spell are meant; 0: they are text */
} attar_generate_options;

/* What attar-run generate uses when nothing is said. */
ATTAR_API attar_generate_options attar_default_options(void);

/* `model`: a GGUF file, a Hugging Face directory or pip:PACKAGE. `threads`: 0 for one a core,
 * within the processor quota. `fp32`: 1 for the
 * reference numbers instead of what is deployed. NULL on failure. */
ATTAR_API attar_model* attar_open(const char* model, int threads, int fp32);
ATTAR_API void attar_free(attar_model* model); /* NULL is fine */

/* Called with whole UTF-8 characters as they become certain, not null-terminated; returns 0 to go on. */
typedef int (*attar_on_text)(const char* text, size_t size_bytes, void* user);

/* 0, or the exit code that attar-run would give (2 usage, 3 bad model or data, 5 out of resources, 1 otherwise; 130
 * when on_text stopped it). `options` and `on_text` may be NULL. */
ATTAR_API int attar_generate(attar_model* model, const char* prompt, const attar_generate_options* options,
                             attar_on_text on_text, void* user);

/* Token ids of a text and the natural log-probability of each given those before; the first has none: NaN. Writes at
 * most `capacity` of each; either array may be NULL. Returns how many tokens the text has, or -1. */
ATTAR_API int64_t attar_score(attar_model* model, const char* text, int32_t* tokens, double* logprobs,
                              int64_t capacity);

/* Why the last call of this thread failed: one line, valid until the thread's next call. Never NULL. */
ATTAR_API const char* attar_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
