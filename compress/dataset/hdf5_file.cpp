#include "compress/dataset/hdf5_file.h"

#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "compress/dataset/dataset_checks.h"
#include "runtime/base/error.h"

namespace attar {
namespace {

constexpr hsize_t kMaxElements = hsize_t{1} << 36;
constexpr size_t kAtOnceBytes = size_t{1} << 20;  // that are handed to HDF5

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

hid_t native(ElementType type) {
  switch (type) {
    case ElementType::I8:
      return H5T_NATIVE_INT8;
    case ElementType::U8:
      return H5T_NATIVE_UINT8;
    case ElementType::I32:
      return H5T_NATIVE_INT32;
    case ElementType::I64:
      return H5T_NATIVE_INT64;
    case ElementType::F32:
      break;
  }
  return H5T_NATIVE_FLOAT;
}

// The bytes of a file that HDF5 made in memory, once it is closed.
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

}  // namespace

struct Hdf5Image::Made {
  QuietErrors quiet;
  std::string path;
  size_t user_block_bytes = 0;
  FileImage image;
  size_t size_bytes = 0;       // of the image, once it is there
  std::optional<Handle> file;  // until then
};

Hdf5Image::Hdf5Image(const std::string& path, size_t user_block_bytes) : made_(std::make_unique<Made>()) {
  constexpr size_t kGrowthBytes = size_t{1} << 20;
  made_->path = path;
  made_->user_block_bytes = user_block_bytes;
  H5FD_file_image_callbacks_t calls = keep_on_close(made_->image);
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  H5Pset_fapl_core(access.get(), kGrowthBytes, false);
  H5Pset_file_image_callbacks(access.get(), &calls);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);
  H5Pset_userblock(creation.get(), user_block_bytes);
  made_->file.emplace(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  if (!made_->file->ok()) throw unwritable(path);
}

Hdf5Image::~Hdf5Image() = default;

void Hdf5Image::add_array(const char* name, ElementType type, const std::vector<std::span<const std::byte>>& parts,
                          uint64_t columns) {
  const size_t width = H5Tget_size(native(type));
  size_t bytes = 0;
  for (const std::span<const std::byte> part : parts) bytes += part.size();
  const hsize_t row = std::max<hsize_t>(1, columns), shape[2] = {bytes / width / row, columns};
  const Handle space(H5Screate_simple(columns == 0 ? 1 : 2, shape, nullptr), H5Sclose);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);  // the same data: the same bytes
  const Handle set(
      H5Dcreate2(made_->file->get(), name, native(type), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
      H5Dclose);
  if (!set.ok()) throw unwritable(made_->path);
  std::vector<std::byte> waiting;
  hsize_t written = 0;  // rows
  const auto flush = [&] {
    if (waiting.empty()) return;
    const hsize_t values = waiting.size() / width, start[2] = {written, 0}, size[2] = {values / row, row};
    const Handle from(H5Screate_simple(1, &values, nullptr), H5Sclose), to(H5Dget_space(set.get()), H5Sclose);
    if (H5Sselect_hyperslab(to.get(), H5S_SELECT_SET, start, nullptr, size, nullptr) < 0 ||
        H5Dwrite(set.get(), native(type), from.get(), to.get(), H5P_DEFAULT, waiting.data()) < 0)
      throw unwritable(made_->path);
    written += size[0];
    waiting.clear();
  };
  for (const std::span<const std::byte> part : parts) {
    waiting.insert(waiting.end(), part.begin(), part.end());
    if (waiting.size() >= kAtOnceBytes) flush();
  }
  flush();
}

void Hdf5Image::add_text(const char* name, const std::string& text) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
  H5Tset_size(type.get(), std::max<size_t>(1, text.size()));
  const Handle attribute(H5Acreate2(made_->file->get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  if (!attribute.ok() || H5Awrite(attribute.get(), type.get(), text.c_str()) < 0) throw unwritable(made_->path);
}

std::span<std::byte> Hdf5Image::bytes() {
  if (made_->file) {
    const hid_t file = made_->file->get();
    const ssize_t size_bytes = H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(file, nullptr, 0);
    if (size_bytes < 0) throw unwritable(made_->path);
    made_->size_bytes = static_cast<size_t>(size_bytes) + made_->user_block_bytes;  // which HDF5 does not count
    made_->file.reset();                                                            // closed: the image is there
  }
  if (made_->image.bytes == nullptr) throw unwritable(made_->path);
  return {static_cast<std::byte*>(made_->image.bytes), made_->size_bytes};
}

struct Hdf5Arrays::Opened {
  explicit Opened(const std::string& name)
      : path(name), file(H5Fopen(name.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose) {}
  QuietErrors quiet;
  std::string path;
  Handle file;
};

Hdf5Arrays::Hdf5Arrays(const std::string& path) : opened_(std::make_unique<Opened>(path)) {
  if (!opened_->file.ok()) throw damaged_dataset(path, "its header");
}

Hdf5Arrays::~Hdf5Arrays() = default;

bool Hdf5Arrays::has(const char* name) const {
  return H5Lexists(opened_->file.get(), name, H5P_DEFAULT) > 0;
}

Hdf5Arrays::Place Hdf5Arrays::place_of(const char* name, ElementType type, uint64_t element_bytes) const {
  H5L_info_t link{};  // to another file it would say where the array lies there
  if (H5Lget_info(opened_->file.get(), name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
    throw damaged_dataset(opened_->path, name);
  const Handle set(H5Dopen2(opened_->file.get(), name, H5P_DEFAULT), H5Dclose);
  if (!set.ok()) throw damaged_dataset(opened_->path, name);
  const Handle space(H5Dget_space(set.get()), H5Sclose), plist(H5Dget_create_plist(set.get()), H5Pclose),
      own(H5Dget_type(set.get()), H5Tclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 0 || static_cast<hsize_t>(count) > kMaxElements || H5Pget_nfilters(plist.get()) != 0 ||
      H5Pget_layout(plist.get()) != H5D_CONTIGUOUS || H5Tequal(own.get(), native(type)) <= 0 ||
      H5Dget_storage_size(set.get()) != static_cast<hsize_t>(count) * element_bytes)
    throw damaged_dataset(opened_->path, name);
  if (count == 0) return {};
  return {H5Dget_offset(set.get()), static_cast<uint64_t>(count)};
}

bool Hdf5Arrays::has_text(const char* name) const {
  return H5Aexists(opened_->file.get(), name) > 0;
}

std::string Hdf5Arrays::text(const char* name) const {
  const Handle attribute(H5Aopen(opened_->file.get(), name, H5P_DEFAULT), H5Aclose);
  if (!attribute.ok()) throw damaged_dataset(opened_->path, name);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose), space(H5Aget_space(attribute.get()), H5Sclose);
  const size_t size = H5Tget_size(type.get());
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0 || size == 0 || size > 4096 ||
      H5Sget_simple_extent_npoints(space.get()) != 1)  // all of them would be read
    throw damaged_dataset(opened_->path, name);
  std::string text(size, '\0');
  if (H5Aread(attribute.get(), type.get(), text.data()) < 0) throw damaged_dataset(opened_->path, name);
  return text.c_str();
}

}  // namespace attar
