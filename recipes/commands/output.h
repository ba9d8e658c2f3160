// Where a verb may write. A folder OUT is replaced whole, so it is looked at before any work is done.
#pragma once

#include <string>
#include <vector>

namespace attar {

bool is_gguf(const std::string& path);  // its name says so

enum class Existing { Refuse, Replace };

// OUT without trailing slashes. Error{Usage}: it is missing, in the way, one of `inputs` or the folder of one, a folder
// that holds anything but a model that Attar wrote, or there already and not to be replaced. `inputs`: models and
// files, empty ones are left out.
std::string checked_out(const std::string& out, const std::vector<std::string>& inputs, Existing existing);

// The same for the folder of checkpoints that a trainer keeps beside OUT.
void check_steps_folder(const std::string& folder, const std::vector<std::string>& inputs);

}  // namespace attar
