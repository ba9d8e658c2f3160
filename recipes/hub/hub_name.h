// hf:ORG/NAME[@REVISION][:FILE]: a MODEL on the Hugging Face hub.
#pragma once

#include <string>
#include <string_view>

namespace attar {

struct HubName {
  std::string repository;         // ORG/NAME
  std::string revision = "main";  // a branch, a tag or a commit
  std::string file{};             // a GGUF, or what tells its name from the others' (Q4_K_M); "": what there is

  std::string text() const;  // as a user writes it
};

// Error{Usage}: it is not of this form.
HubName parse_hub_name(const std::string& model);

bool is_hexadecimal(std::string_view text, size_t digits);
bool is_commit(std::string_view revision);

// A path of plain names: nothing that leads out of the folder that it is looked up in.
bool is_inner_path(std::string_view path);

}  // namespace attar
