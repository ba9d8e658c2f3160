#include "runtime/cli/pages.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"

namespace attar::cli {
namespace {

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// A name of before is in no group.
std::vector<const CLI::Option*> own_flags_of(const CLI::App& app) {
  return app.get_options(
      [](const CLI::Option* option) { return option->nonpositional() && !option->get_group().empty(); });
}

// What stands behind a form (attar recipes new) besides --help.
std::vector<const CLI::Option*> flags_of_form(const CLI::App& form) {
  std::vector<const CLI::Option*> flags = own_flags_of(form);
  std::erase(flags, form.get_help_ptr());
  return flags;
}

// Of a verb with those of its forms: a completion does not ask which of them it is.
std::vector<const CLI::Option*> flags_of(const CLI::App& app) {
  std::vector<const CLI::Option*> flags = own_flags_of(app);
  if (app.get_parent() == nullptr) return flags;
  for (const CLI::App* form : verbs_of(app))
    for (const CLI::Option* option : flags_of_form(*form)) flags.push_back(option);
  return flags;
}

std::vector<const CLI::Option*> positionals_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected() != 0;
}

// "-p", "--prompt", ...
std::vector<std::string> spellings(const CLI::Option& option) {
  std::vector<std::string> out;
  for (const std::string& name : option.get_snames()) out.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) out.push_back("--" + name);
  return out;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

// Text of a roff line: backslashes and hyphens as themselves, no control character in front.
std::string roff(const std::string& text) {
  std::string out = replaced(replaced(text, "\\", "\\e"), "-", "\\-");
  out = replaced(out, "\n.", "\n\\&.");
  return !out.empty() && (out[0] == '.' || out[0] == '\'') ? "\\&" + out : out;
}

std::string roff_flag(const CLI::Option& option) {
  std::string out = ".TP\n.B " + roff(joined(spellings(option), ", "));
  if (takes_value(option)) out += " \\fI" + roff(option.get_type_name()) + "\\fR";
  out += "\n" + roff(option.get_description());
  if (!option.get_default_str().empty()) out += " [" + roff(option.get_default_str()) + "]";
  return out + "\n";
}

// The examples of a footer, which stand last in it.
std::string examples_of(const CLI::App& app) {
  const std::string footer = app.get_footer(), title = "Examples:\n";
  const size_t at = footer.find(title);
  return at == std::string::npos ? "" : footer.substr(at + title.size());
}

std::string roff_examples(const CLI::App& app) {
  const std::string text = examples_of(app);
  return text.empty() ? "" : ".PP\n.nf\n" + roff(text) + "\n.fi\n";
}

std::string roff_verb(const CLI::App& verb) {
  std::string out = ".SS " + roff(verb.get_name());
  for (const CLI::Option* option : positionals_of(verb)) out += " " + roff(option->get_name(true));
  out += "\n" + roff(verb.get_description()) + "\n";
  for (const CLI::Option* option : positionals_of(verb))
    out += ".TP\n.I " + roff(option->get_name(true)) + "\n" + roff(option->get_description()) + "\n";
  for (const CLI::App* form : verbs_of(verb)) {
    out += ".TP\n.B " + roff(form->get_name());
    for (const CLI::Option* option : positionals_of(*form)) out += " \\fI" + roff(option->get_name(true)) + "\\fR";
    out += "\n" + roff(form->get_description()) + "\n";
    std::string flags;
    for (const CLI::Option* option : flags_of_form(*form)) flags += roff_flag(*option);
    if (!flags.empty()) out += ".RS\n" + flags + ".RE\n";
  }
  for (const CLI::Option* option : own_flags_of(verb)) out += roff_flag(*option);
  return out + roff_examples(verb);
}

std::vector<std::string> flag_words(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* option : flags_of(app))
    for (const std::string& word : spellings(*option)) out.push_back(word);
  return out;
}

std::vector<std::string> verb_words(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* verb : verbs_of(app)) out.push_back(verb->get_name());
  return out;
}

// In single quotes of a shell; zsh reads [ ] and : in a description itself.
std::string quoted(const std::string& text) {
  return replaced(text, "'", "'\\''");
}
std::string zsh_text(const std::string& text) {
  return quoted(replaced(replaced(replaced(text, "[", "\\["), "]", "\\]"), ":", "\\:"));
}

std::string zsh_flag(const CLI::Option& option) {
  std::string out;
  const std::string value = takes_value(option) ? ":" + zsh_text(option.get_type_name()) + ":_files" : "";
  for (const std::string& word : spellings(option))
    out += " \\\n        '*" + word + "[" + zsh_text(option.get_description()) + "]" + value + "'";
  return out;
}

std::string fish_flag(const CLI::Option& option, const std::string& start) {
  std::string out = start;
  for (const std::string& name : option.get_snames()) out += " -s " + name;
  for (const std::string& name : option.get_lnames()) out += " -l " + name;
  if (takes_value(option)) out += " -r";
  return out + " -d '" + quoted(option.get_description()) + "'\n";
}

// A cell of a table.
std::string markdown_cell(const std::string& text) {
  return replaced(replaced(text, "|", "\\|"), "\n", " ");
}

// What stands in the first column: PROMPT among the arguments, -p, --prompt TEXT among the flags.
std::string argument_name(const CLI::Option& option) {
  return option.get_name(true);
}
std::string flag_name(const CLI::Option& option) {
  return joined(spellings(option), ", ") + (takes_value(option) ? " " + option.get_type_name() : "");
}

std::string markdown_options(const std::vector<const CLI::Option*>& options,
                             std::string (*name_of)(const CLI::Option&)) {
  if (options.empty()) return "";
  std::string out = "\n| | | default |\n| --- | --- | --- |\n";
  for (const CLI::Option* option : options)
    out += "| `" + markdown_cell(name_of(*option)) + "` | " + markdown_cell(option->get_description()) + " | " +
           markdown_cell(option->get_default_str()) + " |\n";
  return out;
}

std::string markdown_examples(const CLI::App& app) {
  const std::string text = examples_of(app);
  return text.empty() ? ""
                      : "\n" + replaced("    " + text.substr(text.find_first_not_of(' ')), "\n  ", "\n    ") + "\n";
}

std::string markdown_verb(const std::string& title, const CLI::App& verb) {
  return "\n" + title + " " + verb.get_name() + "\n" + verb.get_description() + "\n" + markdown_examples(verb) +
         markdown_options(positionals_of(verb), argument_name) + markdown_options(own_flags_of(verb), flag_name);
}

}  // namespace

std::string manual_page(const Parser& parser) {
  const CLI::App& app = *parser.app;
  const std::string name = app.get_name();
  std::string out = ".TH " + roff(name) + " 1 \"\" \"Attar " ATTAR_VERSION "\"\n.SH NAME\n" + roff(name) + " \\- " +
                    roff(app.get_description()) + "\n.SH SYNOPSIS\n.B " + roff(name) +
                    "\n.I VERB\n[\\fIOPTIONS\\fR] ...\n.SH VERBS\n";
  out += ".SS help VERB\nThe flags of a verb, as with --help.\n";
  for (const CLI::App* verb : verbs_of(app)) out += roff_verb(*verb);
  out += ".SH OPTIONS OF EVERY VERB\n";
  for (const CLI::Option* option : flags_of(app)) out += roff_flag(*option);
  out += ".SH EXAMPLES\n" + roff_examples(app);
  return out +
         ".SH EXIT STATUS\n0 done, 1 failure, 2 usage or recipe, 3 bad model or data, 4 a gate missed, 5 out of "
         "resources, 130 interrupted.\n";
}

std::string bash_completion(const Parser& parser) {
  const CLI::App& app = *parser.app;
  const std::string name = app.get_name(), function = "_" + replaced(name, "-", "_");
  const std::string everywhere = joined(flag_words(app), " ");
  std::string out = "# bash completion of " + name + "\n" + function +
                    "() {\n  local word=${COMP_WORDS[COMP_CWORD]} verb= each\n"
                    "  for each in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case $each in\n      " +
                    joined(verb_words(app), "|") + ") verb=$each; break ;;\n    esac\n  done\n  case $verb in\n";
  for (const CLI::App* verb : verbs_of(app))
    out += "    " + verb->get_name() + ") COMPREPLY=($(compgen -W '" + joined(verb_words(*verb), " ") + " " +
           joined(flag_words(*verb), " ") + " " + everywhere + "' -- \"$word\")) ;;\n";
  return out + "    *) COMPREPLY=($(compgen -W 'help " + joined(verb_words(app), " ") + " " + everywhere +
         "' -- \"$word\")) ;;\n  esac\n}\ncomplete -o bashdefault -o default -F " + function + " " + name + "\n";
}

std::string zsh_completion(const Parser& parser) {
  const CLI::App& app = *parser.app;
  const std::string name = app.get_name();
  std::string everywhere;
  for (const CLI::Option* option : flags_of(app)) everywhere += zsh_flag(*option);
  std::string out = "#compdef " + name + "\nlocal -a verbs=(\n";
  for (const CLI::App* verb : verbs_of(app))
    out += "  '" + verb->get_name() + ":" + zsh_text(verb->get_description()) + "'\n";
  out += "  'help:the flags of a verb'\n)\nlocal context state state_descr line\n_arguments -C" + everywhere +
         " \\\n        '1:verb:->verb' '*::argument:->argument'\ncase $state in\n  verb) _describe verb verbs ;;\n  "
         "argument)\n"
         "    case $line[1] in\n";
  for (const CLI::App* verb : verbs_of(app)) {
    out += "      " + verb->get_name() + ") _arguments" + everywhere;
    for (const CLI::Option* option : flags_of(*verb)) out += zsh_flag(*option);
    out += " \\\n        '*:file:_files' ;;\n";
  }
  return out + "    esac ;;\nesac\n";
}

std::string fish_completion(const Parser& parser) {
  const CLI::App& app = *parser.app;
  const std::string start = "complete -c " + app.get_name();
  std::string out;
  for (const CLI::Option* option : flags_of(app)) out += fish_flag(*option, start);
  out += start + " -n __fish_use_subcommand -f -a help -d 'the flags of a verb'\n";
  for (const CLI::App* verb : verbs_of(app)) {
    out += start + " -n __fish_use_subcommand -f -a " + verb->get_name() + " -d '" + quoted(verb->get_description()) +
           "'\n";
    for (const CLI::Option* option : flags_of(*verb))
      out += fish_flag(*option, start + " -n '__fish_seen_subcommand_from " + verb->get_name() + "'");
  }
  return out;
}

std::string markdown_page(const Parser& parser) {
  const CLI::App& app = *parser.app;
  const std::string name = app.get_name();
  std::string out = "# " + name + ": " + app.get_description() +
                    "\n\nWritten by the build from the options themselves; `" + name +
                    " VERB --help` says the same.\n" + markdown_examples(app);
  for (const CLI::App* verb : verbs_of(app)) {
    out += markdown_verb("## " + name, *verb);
    for (const CLI::App* form : verbs_of(*verb)) out += markdown_verb("### " + name + " " + verb->get_name(), *form);
  }
  return out + "\n## Of every verb\n" + markdown_options(flags_of(app), flag_name);
}

int write_pages(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return static_cast<int>(ErrorKind::Usage);
  }
  try {
    const Parser parser(text, verbs);
    const std::string folder = argv[1], name = text.name;
    const std::pair<std::string, std::string> files[] = {
        {folder + "/man/man1/" + name + ".1", manual_page(parser)},
        {folder + "/bash-completion/completions/" + name, bash_completion(parser)},
        {folder + "/zsh/site-functions/_" + name, zsh_completion(parser)},
        {folder + "/fish/vendor_completions.d/" + name + ".fish", fish_completion(parser)},
        {folder + "/doc/attar/" + name + ".md", markdown_page(parser)},
    };
    for (const auto& [path, content] : files) {
      std::filesystem::create_directories(std::filesystem::path(path).parent_path());
      write_file_atomically(path, content);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(ErrorKind::Failure);
  }
}

}  // namespace attar::cli
