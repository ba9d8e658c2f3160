// What a package installs beside a program, read off its parser: a manual page (man-pages(7)) and the completions of
// bash, zsh and fish. Made by the build, so that they say what --help says.
#pragma once

#include <span>
#include <string>

#include "runtime/cli/program.h"

namespace attar::cli {

std::string manual_page(const Parser& parser);  // roff, section 1
std::string bash_completion(const Parser& parser);
std::string zsh_completion(const Parser& parser);
std::string fish_completion(const Parser& parser);
std::string markdown_page(const Parser& parser);  // every verb with its flags, for the folder's CLI.md

// main() of a program that writes them into the folder it is given, as a prefix has them: man/man1/NAME.1,
// bash-completion/completions/NAME, zsh/site-functions/_NAME, fish/vendor_completions.d/NAME.fish,
// doc/attar/NAME.md.
int write_pages(int argc, char** argv, const ProgramText& text, std::span<const Verb> verbs);

}  // namespace attar::cli
