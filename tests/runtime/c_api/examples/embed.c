/* How like each other texts are: embed MODEL TEXT TEXT... prints the cosine of the first with each of the others.
 *
 *   cc embed.c $(pkg-config --cflags --libs attar_runtime) -o embed */
#include <attar/attar_runtime.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(void) {
  fprintf(stderr, "embed: %s\n", attar_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "embed MODEL TEXT TEXT...\n");
    return 2;
  }
  attar_model* model = attar_open(argv[1], NULL);
  attar_model_info info = {.size_bytes = sizeof info};
  if (model == NULL || attar_info(model, &info) != ATTAR_OK) return fail();
  const size_t n = (size_t)argc - 2, width = (size_t)info.width;
  attar_prompt* prompts = calloc(n, sizeof *prompts);
  float* vectors = calloc(n * width, sizeof *vectors);
  if (prompts == NULL || vectors == NULL) return 1;
  for (size_t i = 0; i < n; ++i) {
    prompts[i].size_bytes = sizeof prompts[i];
    prompts[i].text = argv[2 + i];
  }
  if (attar_embed(model, prompts, n, NULL, vectors, n * width) != ATTAR_OK) return fail();
  for (size_t i = 1; i < n; ++i) { /* of vectors of length 1 */
    double cosine = 0;
    for (size_t c = 0; c < width; ++c) cosine += (double)vectors[c] * vectors[i * width + c];
    printf("%8.5f  %s\n", cosine, argv[2 + i]);
  }
  free(prompts);
  free(vectors);
  attar_free(model);
  return 0;
}
