#include "recipes/commands/output.h"

#include <algorithm>
#include <filesystem>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/formats/model_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

// Every file that export_hf and write_checkpoint put into a folder.
constexpr const char* kModelFiles[] = {"README.md",
                                       "chat_template.jinja",
                                       "config.json",
                                       "extra.safetensors",
                                       "generation_config.json",
                                       "model.safetensors",
                                       "state.json",
                                       "special_tokens_map.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json"};

bool is_model_file(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return fs::is_regular_file(entry.symlink_status()) &&
         std::find(std::begin(kModelFiles), std::end(kModelFiles), name) != std::end(kModelFiles);
}

// Other tools' model folders have files of the same names: Attar's own say so in their card.
bool holds_own_model(const std::string& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (!is_model_file(entry)) return false;
  const std::string card = folder + "/README.md";
  return fs::is_regular_file(card) && read_file(card).find("Attar") != std::string::npos;
}

// Checkpoints, the arms' own, teacher signal, codes, sensitivities and cuts, and what a killed process left of them.
bool holds_own_steps(const std::string& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    static constexpr const char* kKept[] = {"step-", "best", "signal-", "codes-", "sensitivity-", "cuts-"};
    if (name != "arms" &&
        std::none_of(std::begin(kKept), std::end(kKept), [&](const char* own) { return name.starts_with(own); }))
      return false;
  }
  return true;
}

// `path` is `folder` or lies below it, whatever links and dots their names go through.
bool lies_in(const std::string& path, const std::string& folder) {
  const fs::path relative = fs::weakly_canonical(path).lexically_relative(fs::weakly_canonical(folder));
  return !relative.empty() && *relative.begin() != "..";
}

void check_inputs(const std::string& out, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs)
    if (!input.empty() && !is_on_hub(input) && lies_in(resolve_model_path(input), out))
      throw usage_error(out, "would replace what is read from", "another name than " + printable(input), "",
                        "choose another -o");
}

// A file, the parts of a split one, or a folder that is not empty.
bool holds_something(const std::string& out) {
  if (fs::exists(out)) return !fs::is_directory(out) || !fs::is_empty(out);
  if (!is_gguf(out)) return false;
  const fs::path path(out);
  const std::string part = path.stem().string() + "-00001-of-";
  std::error_code code;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(path.has_parent_path() ? path.parent_path() : ".", code))
    if (entry.path().filename().string().starts_with(part)) return true;
  return false;
}

}  // namespace

bool is_gguf(const std::string& path) {
  return path.size() > 5 && path.compare(path.size() - 5, 5, ".gguf") == 0;
}

std::string checked_out(const std::string& given, const std::vector<std::string>& inputs, Existing existing) {
  if (given.empty()) throw usage_error("-o", "is missing", "a file ending in .gguf, or a folder");
  const std::string out = without_trailing_slash(given);
  check_inputs(out, inputs);
  if (is_gguf(out) ? fs::is_directory(out) : fs::exists(out) && !fs::is_directory(out))
    throw usage_error(out, "is in the way", is_gguf(out) ? "a file" : "a folder");
  if (!is_gguf(out) && fs::exists(out) && !fs::is_empty(out) && !holds_own_model(out))
    throw usage_error(out, "is a folder with other things in it",
                      "an empty or new folder, or one that holds a model of Attar and nothing else");
  if (existing == Existing::Refuse && holds_something(out))
    throw usage_error(out, "exists already", "", "", "add --force to write over it, or choose another -o");
  return out;
}

void check_steps_folder(const std::string& folder, const std::vector<std::string>& inputs) {
  check_inputs(folder, inputs);
  if (fs::exists(folder) && (!fs::is_directory(folder) || !holds_own_steps(folder)))
    throw usage_error(folder, "is where checkpoints go, and holds other things", "", "", "choose another -o");
}

}  // namespace attar
