// Token data sets as HDF5: plain, unfiltered arrays, whole files renamed into place.
//   /tokens (N) i32   /in_loss (N) u8   /lengths (documents) i64   /signal_documents (documents) u8   /signal_k (1) i64
//   /signal_ids (M, k) i32   /signal_log_probs (M, k) f32          M: tokens of the documents that have a signal
//   /sampled_signal (bytes) u8   /sampled_bytes (documents) i64   /sampled_form (2) i64   samples, bits of an id; where
//   drawn
//   /hidden_codes (bytes) i8   /hidden_scales (values) f32   /hidden_documents (documents) u8   /hidden_width (1) i64
//   /weights (N) f32   where a document has some; 0 in all of one that has none
//   attributes of /: tokenizer_hash, signal_numerics, teacher_hash, text_hash, made_by (text; the last three are
//   DatasetOrigin's, which files of older versions lack)
// The first 512 bytes, HDF5's user block (HDF5 File Format Specification 3.0, section II.A), hold a line of text with
// the SHA-256 of all bytes after them, then zeros: HDF5's own checksums cover its metadata, neither values nor gaps.
#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "compress/dataset_checks.h"
#include "compress/token_dataset.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/input_file.h"
#include "runtime/base/sha256.h"

namespace attar {
namespace {

constexpr hsize_t kMaxElements = hsize_t{1} << 36;
constexpr size_t kUserBlockBytes = 512;
constexpr int64_t kMostSignalEntries = 65536;  // of a token

// Any HDF5 handle, closed at the end of its scope.
class Handle {
 public:
  Handle(hid_t id, herr_t (*closer)(hid_t)) : id_(id), closer_(closer) {}
  ~Handle() {
    if (id_ >= 0) closer_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  hid_t get() const { return id_; }
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*closer_)(hid_t);
};

class QuietErrors {  // HDF5 prints its own stack otherwise; a host that uses the library too gets its setting back
 public:
  QuietErrors() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &client_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, print_, client_); }
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* client_ = nullptr;
};

Error unwritable(const std::string& path) {
  return Error(ErrorKind::Resources, {.where = path, .what = "cannot be made by HDF5", .hint = "is the memory full?"});
}
Error damaged(const std::string& path, const std::string& part) {
  return damaged_dataset(path, part);
}

void check_user_block(const std::string& path) {
  const InputFile file(path);
  if (file.size_bytes() <= kUserBlockBytes) throw damaged(path, "its header");
  std::string stored(kUserBlockBytes, '\0');
  file.read(0, std::as_writable_bytes(std::span(stored)));
  Sha256 rest;
  size_t skipped = 0;
  file.visit([&](std::span<const std::byte> part) {
    const size_t skip = std::min(kUserBlockBytes - skipped, part.size());
    skipped += skip;
    rest.add(part.subspan(skip));
  });
  if (stored != dataset_user_block(rest.hex())) throw damaged(path, "its checksum");
}

template <class T>
hid_t type_of();
template <>
hid_t type_of<int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t type_of<int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t type_of<int8_t>() {
  return H5T_NATIVE_INT8;
}
template <>
hid_t type_of<uint8_t>() {
  return H5T_NATIVE_UINT8;
}
template <>
hid_t type_of<float>() {
  return H5T_NATIVE_FLOAT;
}

template <class T>
void write_array(const Handle& file, const char* name, const std::vector<T>& values, hsize_t columns,
                 const std::string& path) {
  const hsize_t shape[2] = {columns == 0 ? values.size() : values.size() / columns, columns};
  const Handle space(H5Screate_simple(columns == 0 ? 1 : 2, shape, nullptr), H5Sclose);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);  // the same data: the same bytes
  const Handle set(H5Dcreate2(file.get(), name, type_of<T>(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                   H5Dclose);
  if (!set.ok() ||
      (!values.empty() && H5Dwrite(set.get(), type_of<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0))
    throw unwritable(path);
}

template <class T>
std::vector<T> read_array(const Handle& file, const char* name, const std::string& path) {
  const Handle set(H5Dopen2(file.get(), name, H5P_DEFAULT), H5Dclose);
  if (!set.ok()) throw damaged(path, name);
  const Handle space(H5Dget_space(set.get()), H5Sclose), plist(H5Dget_create_plist(set.get()), H5Pclose),
      type(H5Dget_type(set.get()), H5Tclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 0 || static_cast<hsize_t>(count) > kMaxElements || H5Pget_nfilters(plist.get()) != 0 ||
      H5Tequal(type.get(), type_of<T>()) <= 0)
    throw damaged(path, name);
  if (H5Dget_storage_size(set.get()) != static_cast<hsize_t>(count) * sizeof(T)) throw damaged(path, name);
  std::vector<T> values(static_cast<size_t>(count));
  if (count > 0 && H5Dread(set.get(), type_of<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0)
    throw damaged(path, name);
  return values;
}

void write_text(const Handle& file, const char* name, const std::string& text, const std::string& path) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type.get(), std::max<size_t>(1, text.size()));
  const Handle attribute(H5Acreate2(file.get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute.get(), type.get(), text.c_str()) < 0) throw unwritable(path);
}

std::string read_text(const Handle& file, const char* name, const std::string& path) {
  const Handle attribute(H5Aopen(file.get(), name, H5P_DEFAULT), H5Aclose);
  if (!attribute.ok()) throw damaged(path, name);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const size_t size = H5Tget_size(type.get());
  if (size == 0 || size > 4096 || H5Tis_variable_str(type.get()) > 0) throw damaged(path, name);
  std::string text(size, '\0');
  if (H5Aread(attribute.get(), type.get(), text.data()) < 0) throw damaged(path, name);
  return text.c_str();
}

// As files of older versions have it: "" where there is none.
std::string read_later_text(const Handle& file, const char* name, const std::string& path) {
  return H5Aexists(file.get(), name) > 0 ? read_text(file, name, path) : "";
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <class T>
std::vector<T> slice(const std::vector<T>& from, size_t begin, size_t count) {
  return {from.begin() + static_cast<std::ptrdiff_t>(begin), from.begin() + static_cast<std::ptrdiff_t>(begin + count)};
}

// The bytes of a file that HDF5 made in memory, once it is closed. A disk that fails under HDF5's own writes leaves it
// with a file that it cannot close, and a crash when the process ends.
struct FileImage {
  void* bytes = nullptr;
  ~FileImage() { std::free(bytes); }
};

H5FD_file_image_callbacks_t keep_on_close(FileImage& image) {
  H5FD_file_image_callbacks_t calls{};
  calls.image_malloc = [](size_t size, H5FD_file_image_op_t, void*) { return std::malloc(size); };
  calls.image_memcpy = [](void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
    return std::memcpy(to, from, size);
  };
  calls.image_realloc = [](void* bytes, size_t size, H5FD_file_image_op_t, void*) { return std::realloc(bytes, size); };
  calls.image_free = [](void* bytes, H5FD_file_image_op_t operation, void* kept) -> herr_t {
    if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
      static_cast<FileImage*>(kept)->bytes = bytes;
    else
      std::free(bytes);
    return 0;
  };
  calls.udata_copy = [](void* kept) { return kept; };
  calls.udata_free = [](void*) -> herr_t { return 0; };
  calls.udata = &image;
  return calls;
}

// -> size in bytes of `image`
size_t make_image(const TokenDataset& dataset, const std::string& path, FileImage& image) {
  constexpr size_t kGrowthBytes = size_t{1} << 20;
  std::vector<int32_t> tokens, signal_ids;
  std::vector<uint8_t> in_loss, has_signal, sampled_signal;
  std::vector<int64_t> lengths, sampled_bytes;
  std::vector<float> signal_log_probs, weights, hidden_scales;
  std::vector<int8_t> hidden_codes;
  std::vector<uint8_t> hidden_documents;
  for (const TokenDocument& document : dataset.documents) {
    append(tokens, document.tokens);
    append(weights, document.weights.empty() ? std::vector<float>(document.tokens.size()) : document.weights);
    append(in_loss, document.in_loss);
    lengths.push_back(static_cast<int64_t>(document.tokens.size()));
    has_signal.push_back(document.signal_ids.empty() ? 0 : 1);
    append(signal_ids, document.signal_ids);
    append(signal_log_probs, document.signal_log_probs);
    append(sampled_signal, document.sampled_signal);
    sampled_bytes.push_back(static_cast<int64_t>(document.sampled_signal.size()));
    append(hidden_codes, document.hidden.codes);
    append(hidden_scales, document.hidden.scales);
    hidden_documents.push_back(document.hidden.empty() ? 0 : 1);
  }
  H5FD_file_image_callbacks_t calls = keep_on_close(image);
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  H5Pset_fapl_core(access.get(), kGrowthBytes, false);
  H5Pset_file_image_callbacks(access.get(), &calls);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);
  H5Pset_userblock(creation.get(), kUserBlockBytes);
  const Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  if (!file.ok()) throw unwritable(path);
  const auto k = static_cast<hsize_t>(dataset.signal_k);
  write_array(file, "tokens", tokens, 0, path);
  write_array(file, "in_loss", in_loss, 0, path);
  write_array(file, "lengths", lengths, 0, path);
  write_array(file, "signal_documents", has_signal, 0, path);
  write_array(file, "signal_ids", signal_ids, k, path);
  write_array(file, "signal_log_probs", signal_log_probs, k, path);
  write_array(file, "signal_k", std::vector<int64_t>{dataset.signal_k}, 0, path);
  if (dataset.has_weights()) write_array(file, "weights", weights, 0, path);
  if (dataset.sampled.samples > 0) {
    write_array(file, "sampled_signal", sampled_signal, 0, path);
    write_array(file, "sampled_bytes", sampled_bytes, 0, path);
    write_array(file, "sampled_form", std::vector<int64_t>{dataset.sampled.samples, dataset.sampled.id_bits}, 0, path);
  }
  if (dataset.hidden_width > 0) {
    write_array(file, "hidden_codes", hidden_codes, 0, path);
    write_array(file, "hidden_scales", hidden_scales, 0, path);
    write_array(file, "hidden_documents", hidden_documents, 0, path);
    write_array(file, "hidden_width", std::vector<int64_t>{dataset.hidden_width}, 0, path);
  }
  write_text(file, "tokenizer_hash", dataset.tokenizer_hash, path);
  write_text(file, "signal_numerics", dataset.signal_numerics, path);
  write_text(file, "teacher_hash", dataset.origin.teacher_hash, path);
  write_text(file, "text_hash", dataset.origin.text_hash, path);
  write_text(file, "made_by", dataset.origin.made_by, path);
  const ssize_t size_bytes =
      H5Fflush(file.get(), H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(file.get(), nullptr, 0);
  if (size_bytes < 0) throw unwritable(path);
  return static_cast<size_t>(size_bytes) + kUserBlockBytes;  // which HDF5 does not count
}

// What lies in a file, not yet looked at.
struct Arrays {
  std::vector<int64_t> signal_k, lengths;
  std::vector<int32_t> tokens, signal_ids;
  std::vector<uint8_t> in_loss, has_signal;
  std::vector<float> signal_log_probs;
};

// The rows of a sampled signal, to the documents that they are of.
void read_sampled(const Handle& file, TokenDataset& dataset, const std::string& path) {
  if (H5Lexists(file.get(), "sampled_form", H5P_DEFAULT) <= 0) return;
  const auto form = read_array<int64_t>(file, "sampled_form", path),
             sizes = read_array<int64_t>(file, "sampled_bytes", path);
  const auto bytes = read_array<uint8_t>(file, "sampled_signal", path);
  constexpr int64_t kMostBits = 31;
  if (form.size() != 2 || form[0] < 1 || form[0] > kMostSignalEntries || form[1] < 1 || form[1] > kMostBits ||
      sizes.size() != dataset.documents.size())
    throw damaged(path, "sampled_form");
  dataset.sampled = {form[0], form[1]};
  size_t at = 0;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] < 0 || static_cast<uint64_t>(sizes[d]) > bytes.size() - at) throw damaged(path, "sampled_bytes");
    dataset.documents[d].sampled_signal = slice(bytes, at, static_cast<size_t>(sizes[d]));
    at += static_cast<size_t>(sizes[d]);
  }
  if (at != bytes.size()) throw damaged(path, "sampled_bytes");
}

// The teacher's hidden states, to the documents that they are of.
void read_hidden(const Handle& file, TokenDataset& dataset, const std::string& path) {
  if (H5Lexists(file.get(), "hidden_width", H5P_DEFAULT) <= 0) return;
  constexpr int64_t kMostWidth = int64_t{1} << 20;
  const auto width = read_array<int64_t>(file, "hidden_width", path);
  const auto codes = read_array<int8_t>(file, "hidden_codes", path);
  const auto scales = read_array<float>(file, "hidden_scales", path);
  const auto there = read_array<uint8_t>(file, "hidden_documents", path);
  if (width.size() != 1 || width[0] < 1 || width[0] > kMostWidth || there.size() != dataset.documents.size())
    throw damaged(path, "hidden_width");
  dataset.hidden_width = width[0];
  const auto columns = static_cast<size_t>(width[0]), groups = static_cast<size_t>(hidden_groups(width[0]));
  size_t rows = 0;
  for (size_t d = 0; d < there.size(); ++d) {
    if (there[d] == 0) continue;
    TokenDocument& document = dataset.documents[d];
    const size_t count = document.tokens.size();
    if (there[d] > 1 || count > codes.size() / columns - std::min(rows, codes.size() / columns) ||
        count > scales.size() / groups - std::min(rows, scales.size() / groups))
      throw damaged(path, "hidden_documents");
    document.hidden = {slice(codes, rows * columns, count * columns), slice(scales, rows * groups, count * groups)};
    rows += count;
  }
  if (rows * columns != codes.size() || rows * groups != scales.size()) throw damaged(path, "hidden_codes");
}

void read_weights(const Handle& file, TokenDataset& dataset, const std::string& path) {
  if (H5Lexists(file.get(), "weights", H5P_DEFAULT) <= 0) return;
  const auto weights = read_array<float>(file, "weights", path);
  if (static_cast<int64_t>(weights.size()) != dataset.token_count()) throw damaged(path, "weights");
  size_t at = 0;
  for (TokenDocument& document : dataset.documents) {
    std::vector<float> own = slice(weights, at, document.tokens.size());
    at += document.tokens.size();
    if (std::any_of(own.begin(), own.end(), [](float w) { return w != 0.0f; })) document.weights = std::move(own);
  }
}

// Cuts the arrays into documents; every length is checked against what is left.
void cut_documents(const Arrays& from, TokenDataset& dataset, const std::string& path) {
  const auto k = static_cast<size_t>(dataset.signal_k);
  size_t at = 0, signal_at = 0;
  for (size_t d = 0; d < from.lengths.size(); ++d) {
    if (from.lengths[d] < 0 || static_cast<uint64_t>(from.lengths[d]) > from.tokens.size() - at)
      throw damaged(path, "lengths");
    const auto length = static_cast<size_t>(from.lengths[d]);
    TokenDocument document{slice(from.tokens, at, length), slice(from.in_loss, at, length), {}, {}};
    at += length;
    if (from.has_signal[d] > 1) throw damaged(path, "signal_documents");
    if (from.has_signal[d] != 0) {
      const size_t left = from.signal_ids.size() - signal_at;
      if (k == 0 || length > left / k) throw damaged(path, "signal_ids");
      document.signal_ids = slice(from.signal_ids, signal_at, length * k);
      document.signal_log_probs = slice(from.signal_log_probs, signal_at, length * k);
      signal_at += length * k;
    }
    dataset.documents.push_back(std::move(document));
  }
  if (at != from.tokens.size() || signal_at != from.signal_ids.size()) throw damaged(path, "the sizes of its arrays");
}

}  // namespace

std::string dataset_user_block(const std::string& sha256_hex) {
  std::string block = "Attar token data, HDF5 after byte 512; SHA-256 of the rest:\n" + sha256_hex + "\n";
  block.resize(kUserBlockBytes, '\0');
  return block;
}

void write_dataset(const std::string& path, const TokenDataset& dataset) {
  const QuietErrors quiet;
  FileImage image;
  const size_t size_bytes = make_image(dataset, path, image);  // the file is closed now
  if (image.bytes == nullptr) throw unwritable(path);
  const std::span<std::byte> bytes(static_cast<std::byte*>(image.bytes), size_bytes);
  const std::string block = dataset_user_block(Sha256().add(bytes.subspan(kUserBlockBytes)).hex());
  std::memcpy(bytes.data(), block.data(), kUserBlockBytes);
  write_file_atomically(path, {static_cast<const char*>(image.bytes), size_bytes});
}

TokenDataset read_dataset(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size) {
  const QuietErrors quiet;
  check_user_block(path);
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file.ok()) throw damaged(path, "its header");
  TokenDataset dataset;
  dataset.tokenizer_hash = read_text(file, "tokenizer_hash", path);
  if (dataset.tokenizer_hash != tokenizer_hash)
    throw input_error(path, "was made with another tokenizer", "", "", "delete it, or use another run folder");
  dataset.signal_numerics = read_text(file, "signal_numerics", path);
  dataset.origin = {read_later_text(file, "teacher_hash", path), read_later_text(file, "text_hash", path),
                    read_later_text(file, "made_by", path)};
  const Arrays arrays{.signal_k = read_array<int64_t>(file, "signal_k", path),
                      .lengths = read_array<int64_t>(file, "lengths", path),
                      .tokens = read_array<int32_t>(file, "tokens", path),
                      .signal_ids = read_array<int32_t>(file, "signal_ids", path),
                      .in_loss = read_array<uint8_t>(file, "in_loss", path),
                      .has_signal = read_array<uint8_t>(file, "signal_documents", path),
                      .signal_log_probs = read_array<float>(file, "signal_log_probs", path)};
  if (arrays.signal_k.size() != 1 || arrays.signal_k[0] < 0 || arrays.signal_k[0] > kMostSignalEntries ||
      arrays.has_signal.size() != arrays.lengths.size() || arrays.in_loss.size() != arrays.tokens.size() ||
      arrays.signal_ids.size() != arrays.signal_log_probs.size())
    throw damaged(path, "the sizes of its arrays");
  dataset.signal_k = arrays.signal_k[0];
  cut_documents(arrays, dataset, path);
  read_sampled(file, dataset, path);
  read_hidden(file, dataset, path);
  read_weights(file, dataset, path);
  check_dataset(dataset, vocab_size, path);
  return dataset;
}

}  // namespace attar
