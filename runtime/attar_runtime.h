/* The runtime for programs in C and for everything that can call C: libattar_runtime.so, version 1 of its interface
 * (attar_runtime.hpp wraps it for C++). tests/runtime/c_api/examples/ has programs to begin from: chat.c, embed.c,
 * batch.c, engine.c.
 *
 * A model holds weights, a tokenizer and threads; a session is one conversation with it; an engine writes many texts at
 * once. One model serves any number of sessions and engines, and they share its weights and threads.
 *
 * Failures. Nothing throws and nothing aborts: a call that fails returns a code (ATTAR_...), -1 or NULL, and
 * attar_last_error() says why. Whatever fails, for want of memory too, models and sessions work on as before.
 *
 * Handles. attar_open..., attar_session_open and attar_engine_open give one; attar_free, attar_session_free and
 * attar_engine_free take it back. One that was taken back, or is of another kind, is refused with ATTAR_BAD_ARGUMENT,
 * not followed. Sessions and engines keep what they need of their model, so all may be freed in any order, also while
 * another thread is inside a call, which then ends as if nothing had happened.
 *
 * Memory. What a caller gives is read during the call alone, but for the bytes of attar_open_memory, which are not
 * needed once it has returned either. What a callback is given is valid until it returns. Nothing is to be freed by the
 * caller but handles.
 *
 * Threads. Every function may be called from any thread at any time. Calls on one model take turns: those of different
 * sessions after every token and every 512 tokens of a prompt; others whole. A second call on a session that is in one
 * already fails with ATTAR_BUSY, and so does a call on a model out of a callback that holds it (on_logits, and all
 * callbacks of attar_batch and attar_embed). Models do not wait for each other. A result depends on its own arguments
 * alone: not on the number of threads, nor on what else is computed meanwhile. The threads of a model take no signals
 * of the host's. A step of an engine is a turn; its callbacks hold the model, and may submit to their engine, cancel
 * and ask for its load. A callback that holds a model and calls another model, or an engine of it, waits there: such
 * calls must go one way, for two models whose callbacks call each other wait for ever.
 *
 * fork. A child may go on with models and sessions that no other thread of its parent was using then; its first call
 * starts threads of its own. Parent and child then share nothing.
 *
 * Structs begin with their size, so that later versions may add members at the end: a library runs programs that were
 * built with an older header, for which the new members are as the attar_init_... function leaves them (0 where a
 * struct has none); a struct that is larger than the library knows is refused. */
#ifndef ATTAR_RUNTIME_H
#define ATTAR_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTAR_API __attribute__((visibility("default")))

/* Of this interface, and of the library's SONAME: a library of another number does not run this header's programs. */
#define ATTAR_API_VERSION 1

/* The version of this header. */
#define ATTAR_VERSION_MAJOR 0
#define ATTAR_VERSION_MINOR 1
#define ATTAR_VERSION_PATCH 0

/* The version of the library that is loaded: "0.1.0". */
ATTAR_API const char* attar_version(void);

/* What a call returns, and attar_last_code() remembers. Up to 5, and 130, they are the exit codes of attar-run. */
enum {
  ATTAR_OK = 0,
  ATTAR_FAILED = 1,       /* anything else that went wrong */
  ATTAR_BAD_ARGUMENT = 2, /* of the call: a NULL, a number out of range, a struct of another size, a closed handle */
  ATTAR_BAD_FILE = 3,     /* a model, tokenizer or text that cannot be read or used */
  ATTAR_OUT_OF_RESOURCES = 5, /* memory, disk, file handles, threads; all works on */
  ATTAR_BUSY = 6,             /* the session, or the model that calls back, is in a call already */
  ATTAR_CANCELLED = 130       /* by a callback or attar_cancel */
};

/* Why the last call of this thread failed: one line, valid until the thread's next call. "" when it did not. */
ATTAR_API const char* attar_last_error(void);
/* The same as a code, for calls that return something else. */
ATTAR_API int attar_last_code(void);

/* ---- Models ---- */

typedef struct attar_model attar_model;

typedef struct {
  size_t size_bytes; /* of this struct, as the caller was compiled */
  int threads;       /* 0: one a core, within affinity and the processor quota */
  int fp32;          /* 1: the reference numbers instead of what is deployed */
  const char* kv;    /* keys and values of a deployed model: "f16" or "int8"; NULL: what the file plans */
  const char* draft; /* a smaller model with the same vocabulary, which guesses what this one will write: the same
                        texts, sooner where it guesses well; or NULL */
} attar_open_options;

/* Fills in what is used when options are NULL: attar_init_open_options(&options, sizeof options). */
ATTAR_API int attar_init_open_options(attar_open_options* options, size_t size_bytes);

/* `model`: a GGUF file, a Hugging Face directory or pip:PACKAGE. NULL on failure. The files are not needed once it is
 * open. */
ATTAR_API attar_model* attar_open(const char* model, const attar_open_options* options);
/* A GGUF, whole, in memory; or behind a descriptor of a regular file, which stays the caller's, with its place. */
ATTAR_API attar_model* attar_open_memory(const void* gguf, size_t size_bytes, const attar_open_options* options);
ATTAR_API attar_model* attar_open_fd(int descriptor, const attar_open_options* options);
ATTAR_API int attar_free(attar_model* model); /* NULL is fine */

typedef struct {
  size_t size_bytes;
  int64_t vocabulary_tokens, context_tokens;
  int64_t width, layers, parameters; /* width: numbers of an embedding */
  uint64_t file_bytes, packed_bytes; /* of its files; of the weights in memory */
  int threads;
  int has_chat_template; /* of its own */
  int32_t bos, eos;      /* token ids, or -1 */
} attar_model_info;

ATTAR_API int attar_info(const attar_model* model, attar_model_info* info);

/* What is not as the model's files say or slower than it could be, a line each ("the file names no pre-tokenizer:
 * ..."), for a log; a chat adds one where another template than the model's own is used. attar_note returns NULL past
 * the last one; its text lives as long as the model. */
ATTAR_API size_t attar_note_count(const attar_model* model);
ATTAR_API const char* attar_note(const attar_model* model, size_t index);

/* ---- What a model reads ---- */

typedef struct {
  const char* role;    /* "system", "user", "assistant", "tool" */
  const char* content; /* may be NULL beside json */
  const char* json;    /* the whole message, where it is more than two texts (tool calls); or NULL */
} attar_message;

/* One of three: a text, with BOS and EOS where the tokenizer adds them; a chat, rendered by the model's template, up to
 * where the assistant is to answer; tokens. Begin with
 * attar_prompt prompt = {.size_bytes = sizeof prompt, .text = "..."}; all else is 0 unless it is meant. */
typedef struct {
  size_t size_bytes;
  const char* text;
  size_t text_bytes; /* 0: up to the null */
  const attar_message* messages;
  size_t n_messages;
  const int32_t* tokens;
  size_t n_tokens;
  const char* chat_template; /* a file, or a name that attar-run knows, in place of the model's own; or NULL */
  const char* tools;         /* JSON: the tools that the assistant may call; or NULL */
  int complete;              /* 1: a chat as it stands, without the beginning of an answer */
  int special;               /* 1: control tokens that texts spell are meant; 0: they are text */
} attar_prompt;

/* Writes at most `capacity` tokens; NULL for none. -> how many there are, or -1. */
ATTAR_API int64_t attar_tokenize(const attar_model* model, const attar_prompt* prompt, int32_t* tokens,
                                 int64_t capacity);
/* The bytes of tokens, which may end inside a character; of control tokens none, or with `special` 1 their names.
 * Writes at most `capacity` of them, with a null behind them where there is room. -> how many there are, or -1. */
ATTAR_API int64_t attar_detokenize(const attar_model* model, const int32_t* tokens, size_t n_tokens, int special,
                                   char* text, int64_t capacity);
/* The text that the template makes of a chat; written and counted likewise. */
ATTAR_API int64_t attar_render(const attar_model* model, const attar_prompt* prompt, char* text, int64_t capacity);

/* ---- Text from a model ---- */

typedef struct attar_session attar_session;

/* NULL on failure. */
ATTAR_API attar_session* attar_session_open(attar_model* model);
ATTAR_API int attar_session_free(attar_session* session); /* NULL is fine */
/* Another session that holds the same. NULL on failure. */
ATTAR_API attar_session* attar_session_fork(attar_session* session);
/* The tokens that it holds, which a prompt that begins with them need not be read for again. Writes at most `capacity`;
 * NULL for none. -> how many there are, or -1. */
ATTAR_API int64_t attar_session_tokens(attar_session* session, int32_t* tokens, int64_t capacity);
/* Forgets all but the first `n_tokens`. */
ATTAR_API int attar_session_truncate(attar_session* session, int64_t n_tokens);
/* Writes what it holds into a file, which appears whole or not at all and holds nothing that was forgotten. The first
 * call of a model reads all its weights, to know it again. */
ATTAR_API int attar_session_save(attar_session* session, const char* path);
/* Holds what a file holds, in place of what it held: what it then writes is what the session that was saved would have
 * written, to the bit. ATTAR_BAD_FILE, and all is as before: the file is none of attar_session_save, is damaged, or is
 * of another model, numerics or format of keys and values. The number of threads and the processor's instruction set
 * (AVX2 or AVX-512; any of arm64) may be others. */
ATTAR_API int attar_session_restore(attar_session* session, const char* path);
/* The attar_generate that this session is in, or if it is in none the next, ends with ATTAR_CANCELLED: before its next
 * token, or within a prompt before the next 512. What was read is kept. */
ATTAR_API int attar_cancel(attar_session* session);

typedef struct {
  size_t size_bytes;
  int64_t max_tokens;        /* at least 0 */
  double temperature;        /* 0: the likeliest token */
  int64_t top_k;             /* 0: all */
  double top_p;              /* 1: all */
  double min_p;              /* 0: all */
  double repetition_penalty; /* 1: off */
  int64_t repetition_window_tokens;
  uint64_t seed;
  const char* const* stop; /* texts to end before */
  size_t n_stop;
  int64_t lookup; /* most tokens guessed at once from the text so far (same text, sooner); 0: off */

  /* Each may be NULL, is given `user`, and returns 0 to go on; else the call ends with ATTAR_CANCELLED. */
  void* user;
  /* Whole UTF-8 characters as they become certain, never part of a stop text; not null-terminated. */
  int (*on_text)(const char* text, size_t size_bytes, void* user);
  /* Every token of the text, before its characters. */
  int (*on_token)(int32_t token, void* user);
  /* What the next token is drawn from, before biases and grammar; may change it (-INFINITY: never). Holds the model. */
  int (*on_logits)(float* logits, size_t n_logits, void* user);
  /* Tokens of a long prompt that were read; texts of a batch that are done (there it holds the model). */
  int (*on_progress)(int64_t done, int64_t total, void* user);

  int64_t batch_size; /* of attar_batch: most texts at once; no result depends on it */

  /* What the text must be, from its first byte on: GBNF, or a JSON Schema, as text; at most one of the two, or NULL.
   * The text ends where nothing more may come, and may be unfinished where it is cut short. A model keeps the last
   * eight that it was given. */
  const char* grammar;
  const char* json_schema;
  /* Added to the logits of these tokens, before grammar and sampling: -INFINITY for never, at most 1000. */
  const int32_t* bias_tokens; /* n_biases of them */
  const float* biases;        /* one for each */
  size_t n_biases;
} attar_generate_options;

/* Fills in what attar-run generate uses when nothing is said. */
ATTAR_API int attar_init_generate_options(attar_generate_options* options, size_t size_bytes);

/* Why a text ended. */
enum {
  ATTAR_STOP_END_OF_TEXT = 1,  /* the model ended it, or the grammar lets nothing more come */
  ATTAR_STOP_TEXT = 2,         /* one of options.stop, which is not part of the text */
  ATTAR_STOP_MAX_TOKENS = 3,   /* as long as was asked for */
  ATTAR_STOP_CONTEXT_FULL = 4, /* the model can attend to no more */
  ATTAR_STOP_CANCELLED = 5     /* by a callback or attar_cancel */
};

typedef struct {
  size_t size_bytes; /* set by the caller */
  int stop_reason;   /* ATTAR_STOP_...; 0 when the call failed */
  int64_t prompt_tokens, generated_tokens;
  int64_t held_tokens;                             /* of the prompt, which the session held already */
  int64_t passes, guessed_tokens, accepted_tokens; /* of the model; of lookup and draft */
} attar_generated;

/* Goes on behind `prompt`, which is the whole conversation so far: the session reads what is new in it. `options` and
 * `generated` may be NULL. */
ATTAR_API int attar_generate(attar_session* session, const attar_prompt* prompt, const attar_generate_options* options,
                             attar_generated* generated);

typedef struct {
  size_t size_bytes;
  size_t index; /* of the prompt */
  int stop_reason;
  int64_t prompt_tokens;
  const int32_t* tokens; /* generated, without one that ends the text */
  size_t n_tokens;
  const char* text; /* UTF-8, null-terminated */
  size_t text_bytes;
} attar_answer;

/* Returns 0 to go on. Holds the model. */
typedef int (*attar_on_answer)(const attar_answer* answer, void* user);

/* Goes on behind each of `n` prompts, several at once; calls `on_answer` in their order, as they are done. Draws are
 * keyed by seed and index, so the first text is attar_generate's. Of the options the callbacks but on_progress are not
 * for this (ATTAR_BAD_ARGUMENT). `user` is on_answer's. */
ATTAR_API int attar_batch(attar_model* model, const attar_prompt* prompts, size_t n,
                          const attar_generate_options* options, attar_on_answer on_answer, void* user);

/* ---- Many texts at once ---- */

typedef struct attar_engine attar_engine;

typedef struct {
  size_t size_bytes;
  int64_t max_texts;     /* read or written at once, 1 to 512; the others wait in their order */
  uint64_t max_kv_bytes; /* keys and values, a draft's too, each text counted as long as it may become; 0: any number */
  uint64_t kept_bytes;   /* of texts that ended, for prompts that begin as they did; what was used longest ago goes */
  int64_t prompt_tokens; /* that a step reads while texts are written, 1 to 512, in even parts: fewer, and these come
                            more evenly; more, and prompts are read sooner */
} attar_engine_options;

/* Fills in 16 texts, any number of bytes, 256 MiB kept, 256 tokens. */
ATTAR_API int attar_init_engine_options(attar_engine_options* options, size_t size_bytes);

/* NULL on failure. */
ATTAR_API attar_engine* attar_engine_open(attar_model* model, const attar_engine_options* options);
/* What is under way is cancelled. NULL is fine. */
ATTAR_API int attar_engine_free(attar_engine* engine);

typedef struct {
  size_t size_bytes;
  int64_t id;
  int stop_reason;   /* ATTAR_STOP_... */
  int code;          /* ATTAR_OK; ATTAR_CANCELLED by a callback's answer; what went wrong with this text */
  const char* error; /* one line, "" for none */
  int64_t prompt_tokens;
  int64_t held_tokens;                             /* of the prompt, which another text had read already */
  int64_t passes, guessed_tokens, accepted_tokens; /* of the model; of lookup and draft */
  const int32_t* tokens;                           /* generated, without one that ends the text */
  size_t n_tokens;
  const char* text; /* UTF-8, null-terminated */
  size_t text_bytes;
} attar_ended;

typedef void (*attar_on_end)(const attar_ended* ended, void* user);

/* Puts a text in the queue: the one that attar_generate gives, to the bit, with these options in a new session
 * (batch_size is not used). Nothing is called yet; attar_engine_step calls what `options` and `on_end` have, with
 * options.user, on_end last and once. on_progress: tokens of a prompt that takes several steps. -> its number, from 1
 * on, never given twice by this engine; or -1: also when it alone, with its part of a draft, needs more than
 * max_kv_bytes. */
ATTAR_API int64_t attar_engine_submit(attar_engine* engine, const attar_prompt* prompt,
                                      const attar_generate_options* options, attar_on_end on_end);
/* One pass of the model: a token (with lookup or a draft, some) of every text that is written, and a part of prompts.
 * -> how many texts are under way or waiting; or -1. What happens to one text ends that text; out of memory, nothing
 * has happened, and the next call goes on. */
ATTAR_API int64_t attar_engine_step(attar_engine* engine);
/* Nothing more is heard of a text, and its memory is given back; out of a callback, when the step is done.
 * ATTAR_BAD_ARGUMENT: there is none of that number any more. */
ATTAR_API int attar_engine_cancel(attar_engine* engine, int64_t id);

typedef struct {
  size_t size_bytes;
  int64_t active, waiting;       /* texts */
  uint64_t kv_bytes, kept_bytes; /* keys and values of the active; of texts that ended */
} attar_engine_load;

ATTAR_API int attar_engine_get_load(attar_engine* engine, attar_engine_load* load);

/* ---- Numbers of texts ---- */

/* Tokens of a prompt and the natural log-probability of each given those before; the first has none: NaN. Writes at
 * most `capacity` of each; either array may be NULL. -> how many tokens there are, or -1. */
ATTAR_API int64_t attar_score(attar_model* model, const attar_prompt* prompt, int32_t* tokens, double* logprobs,
                              int64_t capacity);

enum { ATTAR_POOL_MEAN = 0, ATTAR_POOL_LAST = 1 }; /* of the states of all tokens; that of the last */

typedef struct {
  size_t size_bytes;
  int pooling;   /* ATTAR_POOL_... */
  int normalize; /* 1: to length 1 */
  void* user;
  int (*on_progress)(int64_t done, int64_t total, void* user); /* tokens; returns 0 to go on. Holds the model */
} attar_embed_options;

/* Fills in the mean, to length 1. */
ATTAR_API int attar_init_embed_options(attar_embed_options* options, size_t size_bytes);

/* A vector for each of `n` prompts: info.width numbers each, one behind the other, from the model's last hidden states.
 * `capacity`: numbers that `vectors` has room for, at least n * width. `options` may be NULL. */
ATTAR_API int attar_embed(attar_model* model, const attar_prompt* prompts, size_t n, const attar_embed_options* options,
                          float* vectors, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
