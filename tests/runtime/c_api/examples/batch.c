/* Many texts at once: batch MODEL < PROMPTS goes on behind every line of standard input, several together.
 *
 *   cc batch.c $(pkg-config --cflags --libs attar_runtime) -o batch */
#include <attar/attar_runtime.h>
#include <stdio.h>
#include <string.h>

enum { kMostPrompts = 1024, kMostLineBytes = 1024 };

static char lines[kMostPrompts][kMostLineBytes];
static attar_prompt prompts[kMostPrompts];

/* In the order of the prompts, as they are done. */
static int show(const attar_answer* answer, void* user) {
  (void)user;
  printf("%s%s\n", lines[answer->index], answer->text);
  return 0;
}

static int fail(void) {
  fprintf(stderr, "batch: %s\n", attar_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "batch MODEL < PROMPTS\n");
    return 2;
  }
  attar_model* model = attar_open(argv[1], NULL);
  if (model == NULL) return fail();
  size_t n = 0;
  for (; n < kMostPrompts && fgets(lines[n], kMostLineBytes, stdin) != NULL; ++n) {
    lines[n][strcspn(lines[n], "\n")] = '\0';
    prompts[n].size_bytes = sizeof prompts[n];
    prompts[n].text = lines[n];
  }
  attar_generate_options options;
  if (attar_init_generate_options(&options, sizeof options) != ATTAR_OK) return fail();
  options.max_tokens = 24;
  options.temperature = 0;
  options.batch_size = 8;
  const int code = attar_batch(model, prompts, n, &options, show, NULL);
  attar_free(model);
  return code == ATTAR_OK ? 0 : fail();
}
