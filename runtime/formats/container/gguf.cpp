#include "runtime/formats/container/gguf.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "runtime/base/checked.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxNameBytes = 1 << 16;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kReadBytes = 1 << 16;  // of the file at once, in front of the tensors

struct TypeInfo {
  GgufType type;
  uint64_t bytes;  // of one value; the length field alone for strings
};
constexpr TypeInfo kTypes[] = {{GgufType::U8, 1},     {GgufType::I8, 1},     {GgufType::U16, 2}, {GgufType::I16, 2},
                               {GgufType::U32, 4},    {GgufType::I32, 4},    {GgufType::F32, 4}, {GgufType::Bool, 1},
                               {GgufType::String, 8}, {GgufType::Array, 12}, {GgufType::U64, 8}, {GgufType::I64, 8},
                               {GgufType::F64, 8}};

bool is_real(GgufType type) {
  return type == GgufType::F32 || type == GgufType::F64;
}

// Reads forward through a file; every step is checked against what is left.
class Cursor {
 public:
  explicit Cursor(const InputFile& file) : file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.size_bytes() - position_; }
  const std::string& where() const { return file_.path(); }

  // Valid until the next call. What is taken is called `what` and behind it `part`: put together for an error alone,
  // for there are many small things to take.
  std::span<const std::byte> take(uint64_t n, std::string_view what, std::string_view part = {}) {
    if (n > left())
      throw input_error(where(), std::string(what).append(part) + " runs past the end of the file",
                        std::to_string(n) + " more bytes at " + std::to_string(position_), std::to_string(left()),
                        "the file is cut or damaged; fetch it again");
    if (position_ + n > begin_ + buffer_.size()) {
      begin_ = position_;
      buffer_.resize(std::min(std::max(n, kReadBytes), left()));
      file_.read(begin_, buffer_);
    }
    const auto taken = std::span<const std::byte>(buffer_).subspan(position_ - begin_, n);
    position_ += n;
    return taken;
  }
  template <class T>
  T number(std::string_view what, std::string_view part = {}) {
    T value;
    std::memcpy(&value, take(sizeof(T), what, part).data(), sizeof(T));
    return value;
  }
  std::string string(std::string_view what, uint64_t limit) {
    const auto length = number<uint64_t>(what, ", its length");
    if (length > limit)
      throw input_error(where(), std::string(what) + " is too long", "at most " + std::to_string(limit) + " bytes",
                        std::to_string(length));
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  const InputFile& file_;
  std::vector<std::byte> buffer_;  // the file from begin_ on
  uint64_t begin_ = 0, position_ = 0;
};

const TypeInfo& type_info(uint32_t id, const Cursor& cursor, const std::string& what) {
  for (const TypeInfo& info : kTypes)
    if (static_cast<uint32_t>(info.type) == id) return info;
  throw input_error(cursor.where(), what + " has an unknown value type", "0 to 12", std::to_string(id));
}

void read_scalar(Cursor& cursor, GgufType type, const std::string& what, GgufValue& value) {
  switch (type) {
    case GgufType::U8:
      value.integers.push_back(cursor.number<uint8_t>(what));
      return;
    case GgufType::I8:
      value.integers.push_back(cursor.number<int8_t>(what));
      return;
    case GgufType::U16:
      value.integers.push_back(cursor.number<uint16_t>(what));
      return;
    case GgufType::I16:
      value.integers.push_back(cursor.number<int16_t>(what));
      return;
    case GgufType::U32:
      value.integers.push_back(cursor.number<uint32_t>(what));
      return;
    case GgufType::I32:
      value.integers.push_back(cursor.number<int32_t>(what));
      return;
    case GgufType::U64:
      value.integers.push_back(checked_cast<int64_t>(cursor.number<uint64_t>(what), cursor.where() + ": " + what));
      return;
    case GgufType::I64:
      value.integers.push_back(cursor.number<int64_t>(what));
      return;
    case GgufType::Bool: {
      const auto flag = cursor.number<uint8_t>(what);
      if (flag > 1) throw input_error(cursor.where(), what + " is no boolean", "0 or 1", std::to_string(flag));
      value.integers.push_back(flag);
      return;
    }
    case GgufType::F32:
      value.reals.push_back(static_cast<double>(cursor.number<float>(what)));
      return;
    case GgufType::F64:
      value.reals.push_back(cursor.number<double>(what));
      return;
    case GgufType::String:
      value.strings.push_back(cursor.string(what, cursor.left()));
      return;
    case GgufType::Array:
      break;
  }
  throw input_error(cursor.where(), what + " is an array of arrays", "an array of plain values", "a nested array");
}

GgufValue read_value(Cursor& cursor, const std::string& what) {
  GgufValue value;
  const TypeInfo& info = type_info(cursor.number<uint32_t>(what + ", its type"), cursor, what);
  value.type = info.type;
  if (info.type != GgufType::Array) {
    read_scalar(cursor, info.type, what, value);
    return value;
  }
  const TypeInfo& element = type_info(cursor.number<uint32_t>(what + ", its element type"), cursor, what);
  const auto count = cursor.number<uint64_t>(what + ", its length");
  if (count > cursor.left() / element.bytes)  // each element takes at least that much, so nothing is allocated in vain
    throw input_error(cursor.where(), what + " is longer than the file",
                      "at most " + std::to_string(cursor.left() / element.bytes) + " elements", std::to_string(count),
                      "the file is cut or damaged; fetch it again");
  value.is_array = true;
  value.type = element.type;
  if (element.type == GgufType::String)
    value.strings.reserve(count);
  else if (is_real(element.type))
    value.reals.reserve(count);
  else
    value.integers.reserve(count);
  for (uint64_t i = 0; i < count; ++i) read_scalar(cursor, element.type, what, value);
  return value;
}

struct TensorInfo {
  GgufTensor tensor;
  uint64_t offset = 0, size_bytes = 0;
};

TensorInfo read_tensor_info(Cursor& cursor, uint64_t index) {
  TensorInfo info;
  info.tensor.name = cursor.string("name of tensor " + std::to_string(index), kMaxNameBytes);
  const std::string where = cursor.where() + ": tensor " + printable(info.tensor.name);
  const auto dims = cursor.number<uint32_t>(where + ", its dimensions");
  if (dims < 1 || dims > 4)
    throw input_error(where, "has a wrong number of dimensions", "1 to 4", std::to_string(dims));
  uint64_t elements = 1;
  for (uint32_t d = 0; d < dims; ++d) {
    const auto extent = cursor.number<uint64_t>(where + ", its shape");
    if (extent == 0 || extent > (uint64_t{1} << 40))
      throw input_error(where, "has an impossible extent", "1 to 2^40", std::to_string(extent));
    elements = checked_mul(elements, extent, where);
    info.tensor.shape.insert(info.tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  const auto type_id = cursor.number<int32_t>(where + ", its type");
  const QuantFormat* format = find_format(static_cast<TensorType>(type_id));
  if (format == nullptr)
    throw input_error(where, "has an unknown tensor type", "a type of GGUF version 3", std::to_string(type_id));
  info.tensor.type = format->type;
  if (info.tensor.shape.back() % format->block_size != 0)
    throw input_error(where, std::string("has rows that ") + format->name + " cannot divide",
                      "a multiple of " + std::to_string(format->block_size), std::to_string(info.tensor.shape.back()));
  info.offset = cursor.number<uint64_t>(where + ", its offset");
  info.size_bytes = checked_mul(elements / static_cast<uint64_t>(format->block_size),
                                static_cast<uint64_t>(format->block_bytes), where);
  return info;
}

// Positions sorted by name; a name that stands twice is refused.
template <class Items, class Name>
std::vector<uint32_t> index_by_name(const Items& items, const Name& name, const std::string& where, const char* what) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return name(items[a]) < name(items[b]); });
  for (size_t i = 1; i < order.size(); ++i)
    if (name(items[order[i]]) == name(items[order[i - 1]]))
      throw input_error(where, std::string(what) + " " + printable(name(items[order[i]])) + " stands twice");
  return order;
}

template <class Items, class Name>
const typename Items::value_type* find_by_name(const Items& items, const std::vector<uint32_t>& order, const Name& name,
                                               std::string_view wanted) {
  const auto at = std::lower_bound(order.begin(), order.end(), wanted,
                                   [&](uint32_t i, std::string_view w) { return name(items[i]) < w; });
  return at != order.end() && name(items[*at]) == wanted ? &items[*at] : nullptr;
}

const auto kEntryName = [](const GgufEntry& entry) -> const std::string& { return entry.key; };
const auto kTensorName = [](const GgufTensor& tensor) -> const std::string& { return tensor.name; };

// A file of a Hugging Face model stands for no model, its folder does.
std::string hint_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash);
  return path_exists(folder + "/config.json") ? "a Hugging Face model is given by its folder: " + folder : "";
}

void check_header(Cursor& cursor) {
  const auto magic = cursor.take(4, "the magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0)
    throw input_error(cursor.where(), "is not a GGUF file", "it to begin with GGUF",
                      printable(std::string(reinterpret_cast<const char*>(magic.data()), 4)), hint_of(cursor.where()));
  const auto version = cursor.number<uint32_t>("the version");
  if (version == 0x02000000 || version == 0x03000000)
    throw input_error(cursor.where(), "is a big-endian GGUF, which Attar does not read");
  if (version != 2 && version != 3)
    throw input_error(cursor.where(), "has a GGUF version Attar does not read", "2 or 3", std::to_string(version));
}

uint64_t checked_count(Cursor& cursor, const char* what, uint64_t limit, uint64_t least_bytes) {
  const auto count = cursor.number<uint64_t>(what);
  const uint64_t most = std::min(limit, cursor.left() / least_bytes);
  if (count > most)
    throw input_error(cursor.where(), std::string(what) + " is impossible", "at most " + std::to_string(most),
                      std::to_string(count));
  return count;
}

uint64_t alignment_of(const GgufFile& file) {
  const int64_t alignment = file.integer("general.alignment", kDefaultAlignment);
  if (alignment <= 0 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
    throw input_error(file.path(), "general.alignment is impossible", "a power of two up to 2^20",
                      std::to_string(alignment));
  return static_cast<uint64_t>(alignment);
}

}  // namespace

double shortest_decimal(double value) {
  const auto stored = static_cast<float>(value);
  for (int digits = 1; digits <= 9; ++digits) {  // 9 tell any two floats apart
    char text[32];
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(stored));
    if (std::strtof(text, nullptr) == stored) return std::strtod(text, nullptr);
  }
  return value;  // NaN
}

GgufFile GgufFile::open_one(InputFile opened) {
  GgufFile file;
  const std::string path = file.path_ = opened.path();
  file.parts_ = {std::move(opened)};
  Cursor cursor(file.parts_[0]);
  check_header(cursor);
  const uint64_t n_tensors = checked_count(cursor, "the number of tensors", kMaxTensors, 24);
  const uint64_t n_keys = checked_count(cursor, "the number of keys", kMaxKeys, 13);
  for (uint64_t i = 0; i < n_keys; ++i) {
    std::string key = cursor.string("key " + std::to_string(i), kMaxNameBytes);
    if (key.empty()) throw input_error(path, "key " + std::to_string(i) + " is empty");
    GgufValue value = read_value(cursor, "key " + printable(key));
    file.entries_.push_back({std::move(key), std::move(value)});
  }
  file.keys_by_name_ = index_by_name(file.entries_, kEntryName, path, "key");

  std::vector<TensorInfo> infos;
  for (uint64_t i = 0; i < n_tensors; ++i) infos.push_back(read_tensor_info(cursor, i));
  const uint64_t alignment = alignment_of(file);
  const uint64_t data = infos.empty() ? cursor.position() : round_up(cursor.position(), alignment, path);
  uint64_t expected = 0;  // offsets are contiguous in listing order
  for (TensorInfo& info : infos) {
    const std::string where = path + ": tensor " + printable(info.tensor.name);
    if (info.offset != expected)
      throw input_error(where, "lies at a wrong offset", std::to_string(expected), std::to_string(info.offset));
    const uint64_t begin = checked_add(data, info.offset, where);
    if (checked_add(begin, info.size_bytes, where) > file.size_bytes())
      throw input_error(where, "runs past the end of the file", std::to_string(begin + info.size_bytes) + " bytes",
                        std::to_string(file.size_bytes()), "the file is cut; fetch it again");
    info.tensor.bytes = LazyBytes(file.parts_[0], begin, info.size_bytes);
    expected = checked_add(expected, round_up(info.size_bytes, alignment, where), where);
    file.tensors_.push_back(std::move(info.tensor));
  }
  file.tensors_by_name_ = index_by_name(file.tensors_, kTensorName, path, "tensor");
  return file;
}

void GgufFile::add_part(GgufFile part) {
  for (InputFile& file : part.parts_) parts_.push_back(std::move(file));
  for (GgufTensor& tensor : part.tensors_) tensors_.push_back(std::move(tensor));
  tensors_by_name_ = index_by_name(tensors_, kTensorName, part.path_, "tensor");
}

uint64_t GgufFile::size_bytes() const {
  uint64_t bytes = 0;
  for (const InputFile& part : parts_) bytes += part.size_bytes();
  return bytes;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return find_by_name(tensors_, tensors_by_name_, kTensorName, name);
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const GgufEntry* entry = find_by_name(entries_, keys_by_name_, kEntryName, key);
  return entry != nullptr ? &entry->value : nullptr;
}

std::vector<std::string> GgufFile::take_strings(std::string_view key) {
  GgufEntry* entry = const_cast<GgufEntry*>(find_by_name(entries_, keys_by_name_, kEntryName, key));
  return entry != nullptr ? std::exchange(entry->value.strings, {}) : std::vector<std::string>();
}

namespace {

Error missing(const GgufFile& file, std::string_view key) {
  return input_error(file.path(), "key " + std::string(key) + " is missing");
}
Error wrong_kind(const GgufFile& file, std::string_view key, const char* expected) {
  return input_error(file.path(), "key " + std::string(key) + " has another type", expected);
}

}  // namespace

int64_t GgufFile::integer(std::string_view key, std::optional<int64_t> fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr) throw missing(*this, key);
  if (value->is_array || value->integers.size() != 1 || value->type == GgufType::Bool)
    throw wrong_kind(*this, key, "a whole number");
  return value->integers[0];
}

double GgufFile::real(std::string_view key, std::optional<double> fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr) throw missing(*this, key);
  if (value->is_array || value->reals.size() != 1) throw wrong_kind(*this, key, "a float");
  return value->reals[0];
}

bool GgufFile::boolean(std::string_view key, std::optional<bool> fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr) throw missing(*this, key);
  if (value->is_array || value->type != GgufType::Bool) throw wrong_kind(*this, key, "true or false");
  return value->integers[0] != 0;
}

std::string GgufFile::string(std::string_view key, std::optional<std::string> fallback) const {
  const GgufValue* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr) throw missing(*this, key);
  if (value->is_array || value->strings.size() != 1) throw wrong_kind(*this, key, "text");
  return value->strings[0];
}

}  // namespace attar
