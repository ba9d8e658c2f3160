/* Where attar.js finds the members of the structs in attar_runtime.h, as the compiler for WebAssembly lays them out. */
#include <stddef.h>

#include "runtime/attar_runtime.h"

#define ATTAR_AT(type, member, place) _Static_assert(offsetof(type, member) == (place), "attar.js says otherwise")
#define ATTAR_SIZE(type, size_bytes) _Static_assert(sizeof(type) == (size_bytes), "attar.js says otherwise")

ATTAR_SIZE(attar_open_options, 20);
ATTAR_AT(attar_open_options, threads, 4);
ATTAR_AT(attar_open_options, fp32, 8);
ATTAR_AT(attar_open_options, kv, 12);

ATTAR_SIZE(attar_model_info, 80);
ATTAR_AT(attar_model_info, vocabulary_tokens, 8);
ATTAR_AT(attar_model_info, context_tokens, 16);
ATTAR_AT(attar_model_info, parameters, 40);
ATTAR_AT(attar_model_info, file_bytes, 48);
ATTAR_AT(attar_model_info, packed_bytes, 56);
ATTAR_AT(attar_model_info, has_chat_template, 68);

ATTAR_SIZE(attar_message, 12);
ATTAR_AT(attar_message, role, 0);
ATTAR_AT(attar_message, content, 4);

ATTAR_SIZE(attar_prompt, 44);
ATTAR_AT(attar_prompt, text, 4);
ATTAR_AT(attar_prompt, text_bytes, 8);
ATTAR_AT(attar_prompt, messages, 12);
ATTAR_AT(attar_prompt, n_messages, 16);
ATTAR_AT(attar_prompt, tokens, 20);
ATTAR_AT(attar_prompt, n_tokens, 24);
ATTAR_AT(attar_prompt, chat_template, 28);

ATTAR_SIZE(attar_generate_options, 144);
ATTAR_AT(attar_generate_options, max_tokens, 8);
ATTAR_AT(attar_generate_options, temperature, 16);
ATTAR_AT(attar_generate_options, top_k, 24);
ATTAR_AT(attar_generate_options, top_p, 32);
ATTAR_AT(attar_generate_options, min_p, 40);
ATTAR_AT(attar_generate_options, repetition_penalty, 48);
ATTAR_AT(attar_generate_options, seed, 64);
ATTAR_AT(attar_generate_options, on_text, 92);
ATTAR_AT(attar_generate_options, on_token, 96);

ATTAR_SIZE(attar_engine_options, 40);
ATTAR_AT(attar_engine_options, max_texts, 8);
ATTAR_AT(attar_engine_options, prompt_tokens, 32);

ATTAR_AT(attar_ended, stop_reason, 16);
ATTAR_AT(attar_ended, code, 20);
ATTAR_AT(attar_ended, error, 24);
ATTAR_AT(attar_ended, prompt_tokens, 32);
ATTAR_AT(attar_ended, held_tokens, 40);
ATTAR_AT(attar_ended, tokens, 72);
ATTAR_AT(attar_ended, n_tokens, 76);
ATTAR_AT(attar_ended, text, 80);
ATTAR_AT(attar_ended, text_bytes, 84);
