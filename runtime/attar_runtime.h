/* The runtime for programs in C and for everything that can call C: libattar_runtime.so.
 *
 * Nothing throws and nothing aborts: a call that fails returns a code (ATTAR_...), and attar_last_error() says why. A
 * model serves one call at a time (another meanwhile fails with ATTAR_BAD_ARGUMENT): open it once a thread to use it
 * on several. Its file is not needed once it is open. A child that is forked may use it. Its threads take no signals
 * of the host's.
 *
 * Structs begin with their size, so that later versions may add members at the end: a library runs programs that were
 * built with an older header, for which the new members are as attar_init_options leaves them; a struct that is larger
 * than the library knows is refused. */
#ifndef ATTAR_RUNTIME_H
#define ATTAR_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTAR_API __attribute__((visibility("default")))

/* The version of this header. */
#define ATTAR_VERSION_MAJOR 0
#define ATTAR_VERSION_MINOR 1
#define ATTAR_VERSION_PATCH 0

/* The version of the library that is loaded: "0.1.0". */
ATTAR_API const char* attar_version(void);

/* What a call returns, and attar_last_code() remembers: the exit codes of attar-run. */
enum {
  ATTAR_OK = 0,
  ATTAR_FAILED = 1,           /* anything else that went wrong */
  ATTAR_BAD_ARGUMENT = 2,     /* of the call: a NULL, a number out of range, a struct of another size, a busy model */
  ATTAR_BAD_FILE = 3,         /* a model, tokenizer or text that cannot be read or used */
  ATTAR_OUT_OF_RESOURCES = 5, /* memory, disk, file handles, threads; the model still works */
  ATTAR_CANCELLED = 130       /* attar_on_text asked to stop */
};

/* Why the last call of this thread failed: one line, valid until the thread's next call. "" when it did not. */
ATTAR_API const char* attar_last_error(void);
/* The same as a code, for calls that return something else. */
ATTAR_API int attar_last_code(void);

typedef struct attar_model attar_model;

/* `model`: a GGUF file, a Hugging Face directory or pip:PACKAGE. `threads`: 0 for one a core, within the processor
 * quota. `fp32`: 1 for the reference numbers instead of what is deployed. NULL on failure. */
ATTAR_API attar_model* attar_open(const char* model, int threads, int fp32);
ATTAR_API void attar_free(attar_model* model); /* NULL is fine */

typedef struct {
  size_t size_bytes; /* of this struct, as the caller was compiled */
  int threads;       /* as of attar_open */
  int fp32;
  const char* kv;    /* keys and values of a deployed model: "f16" or "int8"; NULL: what the file plans */
  const char* draft; /* a smaller model with the same vocabulary, which guesses what attar_generate writes; or NULL */
} attar_open_options;

/* Fills in what attar_open uses for 0 and 0: attar_init_open_options(&options, sizeof options). */
ATTAR_API int attar_init_open_options(attar_open_options* options, size_t size_bytes);
/* attar_open with all that can be said. `options` may be NULL. */
ATTAR_API attar_model* attar_open_with(const char* model, const attar_open_options* options);

/* What is not as the model's files say or slower than it could be, a line each ("the file names no pre-tokenizer:
 * ..."), for a log. attar_note returns NULL past the last one; its text lives as long as the model. */
ATTAR_API size_t attar_note_count(const attar_model* model);
ATTAR_API const char* attar_note(const attar_model* model, size_t index);

typedef struct {
  size_t size_bytes;         /* of this struct, as the caller was compiled */
  int64_t max_tokens;        /* at least 0 */
  double temperature;        /* 0: the likeliest token */
  int64_t top_k;             /* 0: all */
  double top_p;              /* 1: all */
  double min_p;              /* 0: all */
  double repetition_penalty; /* 1: off */
  uint64_t seed;
  const char* const* stop; /* texts to end before */
  size_t n_stop;
  const char* system; /* the system message of a chat, or NULL */
  int chat;           /* 1: `prompt` is a user's message, put into the model's chat template */
  int special;        /* 1: control tokens that prompt and system spell are meant; 0: they are text */
  int64_t lookup;     /* most tokens guessed at once from the text so far (same text, sooner); 0: off */
} attar_generate_options;

/* Fills in what attar-run generate uses when nothing is said: attar_init_options(&options, sizeof options). */
ATTAR_API int attar_init_options(attar_generate_options* options, size_t size_bytes);

/* Why a text ended. */
enum {
  ATTAR_STOP_END_OF_TEXT = 1,  /* the model ended it */
  ATTAR_STOP_TEXT = 2,         /* one of options.stop, which is not part of the text */
  ATTAR_STOP_MAX_TOKENS = 3,   /* as long as was asked for */
  ATTAR_STOP_CONTEXT_FULL = 4, /* the model can attend to no more */
  ATTAR_STOP_CANCELLED = 5     /* by attar_on_text */
};

typedef struct {
  size_t size_bytes; /* of this struct, set by the caller */
  int stop_reason;   /* ATTAR_STOP_...; 0 when the call failed */
  int64_t prompt_tokens, generated_tokens;
  int64_t passes, guessed_tokens, accepted_tokens; /* of the model; of lookup and draft */
} attar_generated;

/* Called with whole UTF-8 characters as they become certain, not null-terminated, and with none (size_bytes 0) while
 * a long prompt is read. Returns 0 to go on. */
typedef int (*attar_on_text)(const char* text, size_t size_bytes, void* user);

/* Continues `prompt`. ATTAR_OK, or ATTAR_CANCELLED when on_text stopped it, or what went wrong. `options`, `on_text`
 * and `generated` may be NULL. */
ATTAR_API int attar_generate(attar_model* model, const char* prompt, const attar_generate_options* options,
                             attar_on_text on_text, void* user, attar_generated* generated);

/* Token ids of a text and the natural log-probability of each given those before; the first has none: NaN. Writes at
 * most `capacity` of each; either array may be NULL. Returns how many tokens the text has, or -1. */
ATTAR_API int64_t attar_score(attar_model* model, const char* text, int32_t* tokens, double* logprobs,
                              int64_t capacity);

#ifdef __cplusplus
}
#endif

#endif
