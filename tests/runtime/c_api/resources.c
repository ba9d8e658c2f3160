/* Memory that runs out, memory that is given back, and a forked child: resources MODEL. All allocations of program and
 * library come through the functions below, which stand before the C library's. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/runtime/c_api/checks.h"

static atomic_long left = -1;  /* allocations until one fails; negative: none does */
static atomic_long living = 0; /* allocations that were not given back */

static int fails(void) {
  return atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0;
}

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t n, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);

static void* counted(void* memory) {
  if (memory != NULL) atomic_fetch_add(&living, 1);
  return memory;
}
void* malloc(size_t size) {
  return fails() ? NULL : counted(__libc_malloc(size));
}
void* calloc(size_t n, size_t size) {
  return fails() ? NULL : counted(__libc_calloc(n, size));
}
void* realloc(void* memory, size_t size) {
  if (memory == NULL) return malloc(size);
  return fails() ? NULL : __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  return fails() ? NULL : counted(__libc_memalign(alignment, size));
}
void free(void* memory) {
  if (memory != NULL) atomic_fetch_sub(&living, 1);
  __libc_free(memory);
}
void* mmap(void* address, size_t size, int protection, int flags, int descriptor, off_t offset) {
  if (fails()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return counted((void*)syscall(SYS_mmap, address, size, protection, flags, descriptor, offset));
}
int munmap(void* address, size_t size) {
  atomic_fetch_sub(&living, 1);
  return (int)syscall(SYS_munmap, address, size);
}

static attar_open_options with_threads(int threads) {
  attar_open_options options;
  attar_init_open_options(&options, sizeof options);
  options.threads = threads;
  return options;
}

/* A model, a text, a vector, all given back. */
static int cycle(const char* path, int threads) {
  const attar_open_options options = with_threads(threads);
  attar_model* model = attar_open(path, &options);
  attar_session* session = attar_session_open(model);
  CHECK(model != NULL && session != NULL);
  const attar_message message = {.role = "user", .content = "the cat"};
  const attar_prompt prompt = {.size_bytes = sizeof prompt, .messages = &message, .n_messages = 1};
  struct collected got;
  attar_generate_options how = collecting(&got, 3);
  float vector[64];
  CHECK(attar_generate(session, &prompt, &how, NULL) == ATTAR_OK && got.n_tokens == 3);
  CHECK(attar_embed(model, &prompt, 1, NULL, vector, 64) == ATTAR_OK);
  attar_engine* engine = attar_engine_open(model, NULL);
  how = collecting(&got, 3);
  CHECK(attar_engine_submit(engine, &prompt, &how, NULL) == 1 && attar_engine_submit(engine, &prompt, NULL, NULL) == 2);
  CHECK(attar_engine_step(engine) == 2 && attar_engine_cancel(engine, 2) == ATTAR_OK);
  while (attar_engine_step(engine) > 0) continue;
  CHECK(got.n_tokens == 3 && attar_engine_free(engine) == ATTAR_OK);
  CHECK(attar_open("nowhere", NULL) == NULL);
  CHECK(attar_session_free(session) == ATTAR_OK && attar_free(model) == ATTAR_OK);
  return 0;
}

static size_t resident_bytes(void) {
  size_t all = 0, resident = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%zu %zu", &all, &resident) != 2) resident = 0;
  if (file != NULL) fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* A leak makes every round grow; what is met late, such as another arena of malloc's, one of them. */
static int leaks_nothing(const char* path) {
  for (int i = 0; i < 20; ++i) CHECK(cycle(path, 2) == 0);
  const long before = atomic_load(&living);
  size_t least_growth = SIZE_MAX;
  for (int round = 0; round < 5; ++round) {
    const size_t resident = resident_bytes();
    for (int i = 0; i < 200; ++i) CHECK(cycle(path, i % 10 == 0 ? 2 : 1) == 0);
    const size_t now = resident_bytes(), growth = now > resident ? now - resident : 0;
    CHECK(resident > 0 && now > 0);
    if (growth < least_growth) least_growth = growth;
    fprintf(stderr, "resident memory grew by %zu bytes in 200 cycles\n", growth);
  }
  CHECK(atomic_load(&living) == before);
  CHECK(least_growth < 200 << 10);
  return 0;
}

/* The n-th allocation of a call fails, for every n, until a call needs fewer. */
static int survives_every_failure(const char* path) {
  const attar_open_options opening = with_threads(2), alone = with_threads(1);
  attar_model* model = attar_open(path, &alone);
  const attar_prompt prompt = text_prompt("the cat sat on the mat");
  struct collected expected, kept, got;
  attar_generate_options options = collecting(&expected, 6);
  attar_session* session = attar_session_open(model);
  float vector[64], other[64];
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK);
  attar_generate_options keeping = collecting(&kept, 6);
  keeping.grammar = "root ::= (\"a\" root \"t\" | [a-n ]{1,20}){1,3}";
  CHECK(attar_generate(session, &prompt, &keeping, NULL) == ATTAR_OK && !same_text(&kept, &expected));
  keeping.user = &got;
  CHECK(attar_embed(model, &prompt, 1, NULL, vector, 64) == ATTAR_OK);
  CHECK(attar_session_free(session) == ATTAR_OK);

  int failed[4] = {0};
  for (int call = 0; call < 4; ++call) {
    for (long n = 0;; ++n) {
      char grammar[96]; /* another each time, so that the model does not know it yet */
      snprintf(grammar, sizeof grammar, "root ::= (\"a\" root \"t\" | [a-n ]{1,20}){1,3} # %ld", n);
      keeping.grammar = grammar;
      session = attar_session_open(model);
      options = collecting(&got, 6);
      attar_model* opened = NULL;
      atomic_store(&left, n);
      if (call == 0)
        opened = attar_open(path, &opening);
      else if (call == 1)
        attar_generate(session, &prompt, &options, NULL);
      else if (call == 2)
        attar_embed(model, &prompt, 1, NULL, other, 64);
      else
        attar_generate(session, &prompt, &keeping, NULL);
      const int needed_fewer = atomic_exchange(&left, -1) >= 0;
      const int code = attar_last_code();
      CHECK(code == ATTAR_OK || code == ATTAR_OUT_OF_RESOURCES);
      CHECK(code != ATTAR_OK || call != 1 || same_text(&got, &expected));
      CHECK(code != ATTAR_OK || call != 3 || same_text(&got, &kept));
      memset(&got, 0, sizeof got);
      CHECK(attar_generate(session, &prompt, &keeping, NULL) == ATTAR_OK && same_text(&got, &kept));
      CHECK((opened != NULL) == (call == 0 && code == ATTAR_OK) && attar_free(opened) == ATTAR_OK);
      options = collecting(&got, 6);
      CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && same_text(&got, &expected));
      CHECK(attar_embed(model, &prompt, 1, NULL, other, 64) == ATTAR_OK);
      CHECK(memcmp(vector, other, sizeof(float) * 16) == 0);
      CHECK(attar_session_free(session) == ATTAR_OK);
      if (needed_fewer) break;
      failed[call] += code != ATTAR_OK;
    }
  }
  fprintf(stderr, "failures of an open, a text, a vector, a text under a grammar: %d, %d, %d, %d\n", failed[0],
          failed[1], failed[2], failed[3]);
  CHECK(failed[0] > 100 && failed[1] > 10 && failed[2] > 5 && failed[3] > 100);
  CHECK(attar_free(model) == ATTAR_OK);
  return 0;
}

/* The same of an engine: each allocation of opening, submitting and all steps. What had no memory is called again. */
static int engine_survives(const char* path) {
  const attar_open_options alone = with_threads(1);
  attar_model* model = attar_open(path, &alone);
  const attar_prompt prompt = text_prompt("the cat sat on the mat");
  struct collected expected, got;
  attar_generate_options options = collecting(&expected, 6);
  attar_session* session = attar_session_open(model);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK);
  int failed = 0;
  for (long n = 0;; ++n) {
    options = collecting(&got, 6);
    atomic_store(&left, n);
    attar_engine* engine = attar_engine_open(model, NULL);
    for (; engine == NULL; engine = attar_engine_open(model, NULL), ++failed)
      CHECK(attar_last_code() == ATTAR_OUT_OF_RESOURCES);
    while (attar_engine_submit(engine, &prompt, &options, NULL) < 0)
      CHECK(attar_last_code() == ATTAR_OUT_OF_RESOURCES && ++failed);
    int64_t waiting = 1;
    while ((waiting = attar_engine_step(engine)) != 0)
      CHECK(waiting > 0 || (attar_last_code() == ATTAR_OUT_OF_RESOURCES && ++failed));
    const int needed_fewer = atomic_exchange(&left, -1) >= 0;
    CHECK(same_text(&got, &expected) && attar_engine_free(engine) == ATTAR_OK);
    if (needed_fewer) break;
  }
  fprintf(stderr, "failures of an engine: %d\n", failed);
  CHECK(failed > 20);
  CHECK(attar_session_free(session) == ATTAR_OK && attar_free(model) == ATTAR_OK);
  return 0;
}

static int child_uses(const char* path) {
  const attar_open_options opening = with_threads(2);
  attar_model* model = attar_open(path, &opening);
  attar_session* session = attar_session_open(model);
  const attar_prompt prompt = text_prompt("the cat");
  struct collected expected, got;
  attar_generate_options options = collecting(&expected, 6);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK);
  fflush(NULL);
  const pid_t child = fork();
  options = collecting(&got, 6);
  if (child == 0) {
    alarm(60);
    _exit(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && same_text(&got, &expected) ? 0 : 1);
  }
  int status = 1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  CHECK(attar_generate(session, &prompt, &options, NULL) == ATTAR_OK && same_text(&got, &expected));
  attar_session_free(session);
  attar_free(model);
  return 0;
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a huge page that the system makes of small ones is no leak */
  CHECK(child_uses(argv[1]) == 0);
  CHECK(survives_every_failure(argv[1]) == 0);
  CHECK(engine_survives(argv[1]) == 0);
  CHECK(leaks_nothing(argv[1]) == 0);
  return 0;
}
