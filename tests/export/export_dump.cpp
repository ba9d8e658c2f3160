// For tests/oracle: exports of any MODEL.
//   export_dump gguf MODEL OUT.gguf TYPE     every matrix plainly encoded to TYPE (F32 where its rows do not fit)
//   export_dump blocks MODEL OUT.gguf TYPE BLOCKS   every matrix made of the raw blocks of a file, over and over
//   export_dump repack MODEL OUT.gguf        stored bytes as they are
//   export_dump hf MODEL OUT_DIR DTYPE       float32 or bfloat16
#include <cstdio>
#include <string>

#include "export/export.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"

namespace {

using namespace attar;

// Blocks of a type for `count` of them; `given` in turn where there are any, else encoded.
std::vector<std::byte> blocks_of(const QuantFormat& format, int64_t count, const std::vector<float>& values,
                                 const std::string& given) {
  std::vector<std::byte> bytes(static_cast<size_t>(count * format.block_bytes));
  if (given.empty())
    format.encode(values.data(), count, bytes.data());
  else
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(given[i % given.size()]);
  return bytes;
}

QuantizedModel encoded(const ModelFile& file, const QuantFormat& wanted, const std::string& given = {}) {
  QuantizedModel model{.config = file.config(), .plan = {}, .tensors = {}};
  model.plan.file_type = 0;
  for (const TensorSpec& spec : tensor_specs(file.config())) {
    const bool fits = spec.is_matrix() && spec.shape[1] % wanted.block_size == 0;
    const QuantFormat& format = fits ? wanted : format_of(TensorType::F32);
    model.tensors[spec.name] = {
        .type = format.type,
        .shape = spec.shape,
        .bytes = blocks_of(format, spec.elements() / format.block_size, file.values(spec), fits ? given : "")};
  }
  return model;
}

int run(const std::string& verb, const std::string& model, const std::string& out, const std::string& type,
        const std::string& blocks) {
  const ModelFile file = ModelFile::open(model);
  ExportInfo info;
  info.provenance = file.provenance();
  info.attar_version = ATTAR_VERSION;
  GgufExport written;
  if (verb == "gguf")
    written = export_gguf(out, encoded(file, *find_format(type)), file.tokenizer(), info);
  else if (verb == "blocks")
    written = export_gguf(out, encoded(file, *find_format(type), read_file(blocks)), file.tokenizer(), info);
  else if (verb == "repack")
    written = repack_gguf(out, file, info);
  else if (verb == "hf")
    export_hf(out, CausalLM::load(file), file.tokenizer(), info, type);
  else
    return 2;
  std::printf("%s\n", written.architecture.c_str());
  for (const std::string& note : written.notes) std::printf("%s\n", note.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  try {
    return run(argv[1], argv[2], argv[3], argc > 4 ? argv[4] : "", argc > 5 ? argv[5] : "");
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
