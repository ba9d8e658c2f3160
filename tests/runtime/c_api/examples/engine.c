/* Several texts at once, each as it comes: engine MODEL PROMPT PROMPT ...
 *
 *   cc engine.c $(pkg-config --cflags --libs attar_runtime) -o engine */
#include <attar/attar_runtime.h>
#include <stdio.h>

static int fail(void) {
  fprintf(stderr, "engine: %s\n", attar_last_error());
  return 1;
}

/* A piece of one of the texts, behind which prompt it stands. */
static int show(const char* text, size_t size_bytes, void* user) {
  printf("%s |%.*s|\n", (const char*)user, (int)size_bytes, text);
  return 0;
}

static void show_end(const attar_ended* ended, void* user) {
  const char* why = ended->code == ATTAR_OK ? "is done" : ended->error;
  printf("%s: %s, %zu tokens\n", (const char*)user, why, ended->n_tokens);
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "engine MODEL PROMPT PROMPT ...\n");
    return 2;
  }
  attar_model* model = attar_open(argv[1], NULL);
  attar_engine* engine = model == NULL ? NULL : attar_engine_open(model, NULL);
  if (engine == NULL) return fail();
  for (int i = 2; i < argc; ++i) {
    attar_generate_options options;
    if (attar_init_generate_options(&options, sizeof options) != ATTAR_OK) return fail();
    options.max_tokens = 24;
    options.temperature = 0;
    options.user = argv[i];
    options.on_text = show;
    const attar_prompt prompt = {.size_bytes = sizeof prompt, .text = argv[i]};
    if (attar_engine_submit(engine, &prompt, &options, show_end) < 0) return fail();
  }
  int64_t left = 0;
  do left = attar_engine_step(engine);
  while (left > 0);
  if (left < 0) return fail();
  attar_engine_free(engine);
  attar_free(model);
  return 0;
}
