/* A conversation: chat MODEL [SYSTEM], a message a line on standard input. Ctrl-C breaks off an answer.
 *
 *   cc chat.c $(pkg-config --cflags --libs attar_runtime) -o chat */
#include <attar/attar_runtime.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kMostMessages = 256, kMostAnswerBytes = 1 << 16 };

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number) {
  (void)signal_number;
  interrupted = 1;
}

struct answer {
  char text[kMostAnswerBytes];
  size_t size_bytes;
};

static int show(const char* text, size_t size_bytes, void* user) {
  struct answer* answer = user;
  fwrite(text, 1, size_bytes, stdout);
  fflush(stdout);
  if (answer->size_bytes + size_bytes >= sizeof answer->text) return 1;
  memcpy(answer->text + answer->size_bytes, text, size_bytes);
  answer->size_bytes += size_bytes;
  answer->text[answer->size_bytes] = '\0';
  return interrupted;
}

/* Between the passes over a long message. */
static int go_on(int64_t done, int64_t total, void* user) {
  (void)user;
  fprintf(stderr, "\r%lld of %lld tokens read", (long long)done, (long long)total);
  return interrupted;
}

static int fail(void) {
  fprintf(stderr, "chat: %s\n", attar_last_error());
  return 1;
}

static char* copy(const char* text) {
  char* memory = malloc(strlen(text) + 1);
  return memory != NULL ? strcpy(memory, text) : NULL;
}

/* Each turn is given whole: the session reads what is new in it. */
static int talk(attar_session* session, attar_message* messages, size_t n_messages) {
  static struct answer answer;
  char line[4096];
  attar_generate_options options;
  if (attar_init_generate_options(&options, sizeof options) != ATTAR_OK) return fail();
  options.user = &answer;
  options.on_text = show;
  options.on_progress = go_on;
  while (n_messages + 2 <= kMostMessages && fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    messages[n_messages].role = "user";
    messages[n_messages++].content = copy(line);
    const attar_prompt prompt = {.size_bytes = sizeof prompt, .messages = messages, .n_messages = n_messages};
    attar_generated generated = {.size_bytes = sizeof generated};
    answer.size_bytes = 0;
    answer.text[0] = '\0';
    interrupted = 0;
    const int code = attar_generate(session, &prompt, &options, &generated);
    if (code != ATTAR_OK && code != ATTAR_CANCELLED) return fail();
    printf("\n");
    fprintf(stderr, "%lld tokens, of the prompt's %lld %lld were known\n", (long long)generated.generated_tokens,
            (long long)generated.prompt_tokens, (long long)generated.held_tokens);
    messages[n_messages].role = "assistant";
    messages[n_messages++].content = copy(answer.text);
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "chat MODEL [SYSTEM]\n");
    return 2;
  }
  signal(SIGINT, interrupt);
  attar_model* model = attar_open(argv[1], NULL);
  if (model == NULL) return fail();
  for (size_t i = 0; i < attar_note_count(model); ++i) fprintf(stderr, "note: %s\n", attar_note(model, i));
  attar_session* session = attar_session_open(model);
  if (session == NULL) return fail();
  static attar_message messages[kMostMessages];
  size_t n_messages = 0;
  if (argc > 2) {
    messages[n_messages].role = "system";
    messages[n_messages++].content = argv[2];
  }
  const int code = talk(session, messages, n_messages);
  attar_session_free(session);
  attar_free(model);
  return code;
}
