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
#include "compress/dataset/dataset_file.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "compress/dataset/dataset_checks.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/formats/numerics.h"

namespace attar {
namespace {

constexpr size_t kUserBlockBytes = 512;
constexpr int64_t kMostSignalEntries = 65536;  // of a token

// -> the SHA-256 of what lies behind the user block, which says the same
std::string checked_sum(const InputFile& file, const std::string& path) {
  if (file.size_bytes() <= kUserBlockBytes) throw damaged_dataset(path, "its header");
  std::string stored(kUserBlockBytes, '\0');
  file.read(0, std::as_writable_bytes(std::span(stored)));
  Sha256 rest;
  size_t skipped = 0;
  file.visit([&](std::span<const std::byte> part) {
    const size_t skip = std::min(kUserBlockBytes - skipped, part.size());
    skipped += skip;
    rest.add(part.subspan(skip));
  });
  std::string sum = rest.hex();
  if (stored != dataset_user_block(sum)) throw damaged_dataset(path, "its checksum");
  return sum;
}

// A part a document: what `of` takes of it.
template <class T, class Of>
std::vector<std::span<const T>> parts_of(const TokenDataset& dataset, Of&& of) {
  std::vector<std::span<const T>> parts;
  parts.reserve(dataset.documents.size());
  for (const TokenDocument& document : dataset.documents) parts.push_back(of(document));
  return parts;
}

// A number a document.
template <class T, class Of>
std::vector<T> numbers_of(const TokenDataset& dataset, Of&& of) {
  std::vector<T> numbers;
  numbers.reserve(dataset.documents.size());
  for (const TokenDocument& document : dataset.documents) numbers.push_back(static_cast<T>(of(document)));
  return numbers;
}

void add_arrays(const TokenDataset& dataset, Hdf5Image& image) {
  using Each = const TokenDocument&;
  const auto k = static_cast<uint64_t>(dataset.signal_k);
  image.add_parts("tokens", parts_of<int32_t>(dataset, [](Each d) { return std::span(d.tokens); }));
  image.add_parts("in_loss", parts_of<uint8_t>(dataset, [](Each d) { return std::span(d.in_loss); }));
  image.add("lengths", numbers_of<int64_t>(dataset, [](Each d) { return d.tokens.size(); }));
  image.add("signal_documents", numbers_of<uint8_t>(dataset, [](Each d) { return d.signal_ids.empty() ? 0 : 1; }));
  image.add_parts("signal_ids", parts_of<int32_t>(dataset, [](Each d) { return std::span(d.signal_ids); }), k);
  image.add_parts("signal_log_probs", parts_of<float>(dataset, [](Each d) { return std::span(d.signal_log_probs); }),
                  k);
  image.add("signal_k", std::vector<int64_t>{dataset.signal_k});
  if (dataset.has_weights()) {
    const std::vector<float> none(static_cast<size_t>(dataset.longest_tokens()));
    image.add_parts("weights", parts_of<float>(dataset, [&](Each d) {
                      return d.weights.empty() ? std::span(none).first(d.tokens.size()) : std::span(d.weights);
                    }));
  }
  if (dataset.sampled.samples > 0) {
    image.add_parts("sampled_signal", parts_of<uint8_t>(dataset, [](Each d) { return std::span(d.sampled_signal); }));
    image.add("sampled_bytes", numbers_of<int64_t>(dataset, [](Each d) { return d.sampled_signal.size(); }));
    image.add("sampled_form", std::vector<int64_t>{dataset.sampled.samples, dataset.sampled.id_bits});
  }
  if (dataset.hidden_width > 0) {
    image.add_parts("hidden_codes", parts_of<int8_t>(dataset, [](Each d) { return std::span(d.hidden.codes); }));
    image.add_parts("hidden_scales", parts_of<float>(dataset, [](Each d) { return std::span(d.hidden.scales); }));
    image.add("hidden_documents", numbers_of<uint8_t>(dataset, [](Each d) { return d.hidden.empty() ? 0 : 1; }));
    image.add("hidden_width", std::vector<int64_t>{dataset.hidden_width});
  }
}

}  // namespace

std::string dataset_user_block(const std::string& sha256_hex) {
  std::string block = "Attar token data, HDF5 after byte 512; SHA-256 of the rest:\n" + sha256_hex + "\n";
  block.resize(kUserBlockBytes, '\0');
  return block;
}

std::string write_dataset(const std::string& path, const TokenDataset& dataset) {
  assert(std::all_of(dataset.documents.begin(), dataset.documents.end(),
                     [](const TokenDocument& document) { return document.stored.empty(); }));
  Hdf5Image image(path, kUserBlockBytes);
  add_arrays(dataset, image);
  image.add_text("tokenizer_hash", dataset.tokenizer_hash);
  image.add_text("signal_numerics", dataset.signal_numerics);
  image.add_text("teacher_hash", dataset.origin.teacher_hash);
  image.add_text("text_hash", dataset.origin.text_hash);
  image.add_text("made_by", dataset.origin.made_by);
  const std::span<std::byte> bytes = image.bytes();
  std::string sum = Sha256().add(bytes.subspan(kUserBlockBytes)).hex();
  const std::string block = dataset_user_block(sum);
  std::memcpy(bytes.data(), block.data(), kUserBlockBytes);
  write_file_atomically(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return sum;
}

DatasetFile::DatasetFile(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size)
    : path_(path), file_(path) {
  checksum_ = checked_sum(*file_, path);
  stamp_ = file_->stamp();
  const Hdf5Arrays arrays(path);
  text_.tokenizer_hash = arrays.text("tokenizer_hash");
  if (text_.tokenizer_hash != tokenizer_hash)
    throw input_error(path, "was made with another tokenizer", "", "", "delete it, or use another run folder");
  text_.signal_numerics = arrays.text("signal_numerics");
  if (const std::string& numerics = text_.signal_numerics;
      !numerics.empty() && !find_numerics(numerics) && numerics != kTrainingNumerics)
    throw damaged_dataset(path, "signal_numerics");
  const auto later = [&](const char* name) { return arrays.has_text(name) ? arrays.text(name) : std::string(); };
  text_.origin = {later("teacher_hash"), later("text_hash"), later("made_by")};
  read_text(arrays);
  read_weights(arrays);
  find_top_k(arrays);
  find_sampled(arrays);
  find_hidden(arrays);
  check_all(vocab_size);
}

bool DatasetFile::has_signal(size_t document) const {
  const Extent& extent = extents_[document];
  return extent.top_k != kNone || extent.hidden != kNone || extent.sampled_bytes > 0;
}

void DatasetFile::read_signal(size_t document, TokenDocument& into) const {
  const Extent& extent = extents_[document];
  const auto k = static_cast<uint64_t>(signal_k_), width = static_cast<uint64_t>(hidden_width_),
             groups = static_cast<uint64_t>(hidden_groups(hidden_width_));
  if (extent.top_k != kNone) {
    into.signal_ids = values<int32_t>(ids_, extent.top_k * k, extent.tokens * k);
    into.signal_log_probs = values<float>(log_probs_, extent.top_k * k, extent.tokens * k);
  }
  if (extent.sampled_bytes > 0) into.sampled_signal = values<uint8_t>(rows_, extent.sampled, extent.sampled_bytes);
  if (extent.hidden != kNone)
    into.hidden = {values<int8_t>(codes_, extent.hidden * width, extent.tokens * width),
                   values<float>(scales_, extent.hidden * groups, extent.tokens * groups)};
}

bool DatasetFile::open_again() {
  file_.emplace(path_);
  if (file_->stamp() == stamp_) return true;
  file_.reset();
  return false;
}

template <class T>
std::vector<T> DatasetFile::values(const Hdf5Arrays::Place& of, uint64_t first, uint64_t count) const {
  std::vector<T> out(static_cast<size_t>(count));
  if (count > 0) file_->read(of.offset_bytes + first * sizeof(T), std::as_writable_bytes(std::span(out)));
  return out;
}

// Within the file.
template <class T>
Hdf5Arrays::Place DatasetFile::place(const Hdf5Arrays& arrays, const char* name) const {
  const Hdf5Arrays::Place found = arrays.place<T>(name);
  const uint64_t size = file_->size_bytes();
  if (found.offset_bytes > size || found.count > (size - found.offset_bytes) / sizeof(T))
    throw damaged_dataset(path_, name);
  return found;
}

template <class T>
std::vector<T> DatasetFile::all(const Hdf5Arrays& arrays, const char* name) const {
  const Hdf5Arrays::Place of = place<T>(arrays, name);
  return values<T>(of, 0, of.count);
}

// Every length is checked against what is left.
void DatasetFile::read_text(const Hdf5Arrays& arrays) {
  const auto tokens = all<int32_t>(arrays, "tokens");
  const auto in_loss = all<uint8_t>(arrays, "in_loss");
  const auto lengths = all<int64_t>(arrays, "lengths");
  if (in_loss.size() != tokens.size()) throw damaged_dataset(path_, "the sizes of its arrays");
  size_t at = 0;
  for (const int64_t length : lengths) {
    if (length < 0 || static_cast<uint64_t>(length) > tokens.size() - at) throw damaged_dataset(path_, "lengths");
    const auto begin = static_cast<std::ptrdiff_t>(at), end = begin + length;
    text_.documents.push_back(
        {{tokens.begin() + begin, tokens.begin() + end}, {in_loss.begin() + begin, in_loss.begin() + end}, {}, {}});
    extents_.push_back({.tokens = static_cast<size_t>(length)});
    at += static_cast<size_t>(length);
  }
  if (at != tokens.size()) throw damaged_dataset(path_, "the sizes of its arrays");
}

void DatasetFile::read_weights(const Hdf5Arrays& arrays) {
  if (!arrays.has("weights")) return;
  const auto weights = all<float>(arrays, "weights");
  if (static_cast<int64_t>(weights.size()) != text_.token_count()) throw damaged_dataset(path_, "weights");
  auto at = weights.begin();
  for (TokenDocument& document : text_.documents) {
    const auto end = at + std::ssize(document.tokens);
    if (std::any_of(at, end, [](float w) { return w != 0.0f; })) document.weights.assign(at, end);
    at = end;
  }
}

void DatasetFile::find_top_k(const Hdf5Arrays& arrays) {
  const auto k = all<int64_t>(arrays, "signal_k");
  const auto there = all<uint8_t>(arrays, "signal_documents");
  ids_ = place<int32_t>(arrays, "signal_ids"), log_probs_ = place<float>(arrays, "signal_log_probs");
  if (k.size() != 1 || k[0] < 0 || k[0] > kMostSignalEntries || there.size() != extents_.size() ||
      ids_.count != log_probs_.count)
    throw damaged_dataset(path_, "the sizes of its arrays");
  text_.signal_k = signal_k_ = k[0];
  const auto entries = static_cast<uint64_t>(k[0]);
  uint64_t rows = 0;
  for (size_t d = 0; d < there.size(); ++d) {
    if (there[d] > 1) throw damaged_dataset(path_, "signal_documents");
    if (there[d] == 0) continue;
    if (entries == 0 || extents_[d].tokens > ids_.count / entries - rows) throw damaged_dataset(path_, "signal_ids");
    extents_[d].top_k = rows;
    rows += extents_[d].tokens;
  }
  if (rows * entries != ids_.count) throw damaged_dataset(path_, "the sizes of its arrays");
}

void DatasetFile::find_sampled(const Hdf5Arrays& arrays) {
  if (!arrays.has("sampled_form")) return;
  const auto form = all<int64_t>(arrays, "sampled_form"), sizes = all<int64_t>(arrays, "sampled_bytes");
  rows_ = place<uint8_t>(arrays, "sampled_signal");
  constexpr int64_t kMostBits = 31;
  if (form.size() != 2 || form[0] < 1 || form[0] > kMostSignalEntries || form[1] < 1 || form[1] > kMostBits ||
      sizes.size() != extents_.size())
    throw damaged_dataset(path_, "sampled_form");
  text_.sampled = {form[0], form[1]};
  uint64_t at = 0;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] < 0 || static_cast<uint64_t>(sizes[d]) > rows_.count - at)
      throw damaged_dataset(path_, "sampled_bytes");
    extents_[d].sampled = at, extents_[d].sampled_bytes = static_cast<uint64_t>(sizes[d]);
    at += static_cast<uint64_t>(sizes[d]);
  }
  if (at != rows_.count) throw damaged_dataset(path_, "sampled_bytes");
}

void DatasetFile::find_hidden(const Hdf5Arrays& arrays) {
  if (!arrays.has("hidden_width")) return;
  constexpr int64_t kMostWidth = int64_t{1} << 20;
  const auto width = all<int64_t>(arrays, "hidden_width");
  const auto there = all<uint8_t>(arrays, "hidden_documents");
  codes_ = place<int8_t>(arrays, "hidden_codes"), scales_ = place<float>(arrays, "hidden_scales");
  if (width.size() != 1 || width[0] < 1 || width[0] > kMostWidth || there.size() != extents_.size())
    throw damaged_dataset(path_, "hidden_width");
  text_.hidden_width = hidden_width_ = width[0];
  const auto columns = static_cast<uint64_t>(width[0]), groups = static_cast<uint64_t>(hidden_groups(width[0]));
  const uint64_t most = std::min(codes_.count / columns, scales_.count / groups);
  uint64_t rows = 0;
  for (size_t d = 0; d < there.size(); ++d) {
    if (there[d] == 0) continue;
    if (there[d] > 1 || extents_[d].tokens > most - rows) throw damaged_dataset(path_, "hidden_documents");
    extents_[d].hidden = rows;
    rows += extents_[d].tokens;
  }
  if (rows * columns != codes_.count || rows * groups != scales_.count) throw damaged_dataset(path_, "hidden_codes");
}

void DatasetFile::check_all(int64_t vocab_size) const {
  for (size_t d = 0; d < extents_.size(); ++d) {
    check_text(text_.documents[d], vocab_size, path_);
    TokenDocument signal;
    read_signal(d, signal);
    check_signal(signal, extents_[d].tokens, text_, vocab_size, path_);
  }
}

TokenDataset read_dataset(const std::string& path, const std::string& tokenizer_hash, int64_t vocab_size) {
  DatasetFile file(path, tokenizer_hash, vocab_size);
  TokenDataset dataset = file.take_text();
  for (size_t d = 0; d < dataset.documents.size(); ++d) file.read_signal(d, dataset.documents[d]);
  return dataset;
}

}  // namespace attar
