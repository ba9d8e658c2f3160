// The folder of a run: locked while in use, bound to one resolved recipe, and the home of each stage's result.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace attar {

// What a finished stage leaves for the report. Both are JSON objects; results hold no time, rate, date or path.
struct StageRecord {
  std::string name;  // "2-distill"
  std::string results = "{}";
  std::string measurements = "{}";
  std::vector<std::string> notes{};  // fallbacks and adjustments, one line each
};

class RunFolder {
 public:
  // Creates or opens. `paths_from`: the folder at which the recipe's paths start. `inputs`: SHA-256 of what the recipe
  // takes from outside, by name. Error{Resources}: another process uses it. Error{Usage}: it holds a run and `resume`
  // is off, a run of another recipe (with the keys that differ), or one that began with other inputs. A folder in which
  // no work lies yet is bound anew.
  RunFolder(const std::string& path, const std::string& resolved_recipe, const std::string& paths_from,
            const std::map<std::string, std::string>& inputs, bool resume);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  bool began_here() const { return began_here_; }  // no work lay there
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string checkpoints(const std::string& stage) const { return file("checkpoints/" + stage); }
  std::string finished_model(const std::string& stage) const { return checkpoints(stage) + "/final"; }

  std::optional<StageRecord> record(const std::string& stage) const;  // nothing: the stage is not finished
  void write_record(const StageRecord& record);

  void append_metric(const std::string& json_line);
  void start_metrics(const std::string& stage);  // drops lines of `stage` that an interrupted run left

 private:
  std::string bound_recipe() const;  // resolved.yaml without its `paths_from`
  void write_recipe(const std::string& resolved_recipe, const std::string& paths_from) const;
  void bind(const std::string& resolved_recipe, const std::string& paths_from,
            const std::map<std::string, std::string>& inputs);
  // Keys that the run of the folder has otherwise.
  std::string differing_from(const std::string& resolved_recipe) const;
  void check_inputs(const std::map<std::string, std::string>& inputs) const;

  std::string path_;
  bool began_here_ = false;
  struct Lock {  // let go also when the constructor refuses
    int fd = -1;
    ~Lock();
  } lock_;
};

}  // namespace attar
