#include "python/options.h"

#include "runtime/base/host/cpu_limits.h"

namespace attar::python {

namespace {

bool is_text(const py::handle& given) {
  return py::isinstance<py::str>(given) || py::hasattr(given, "__fspath__");
}

// A str as bytes: of a file's name those that the file system has, of half a character what no text is. That is said
// where it is read.
py::object bytes_of(const py::object& text) {
  for (const char* errors : {"surrogateescape", "surrogatepass"}) {
    PyObject* bytes = PyUnicode_AsEncodedString(text.ptr(), "utf-8", errors);
    if (bytes != nullptr) return py::reinterpret_steal<py::object>(bytes);
    PyErr_Clear();
  }
  throw py::cast_error();
}

}  // namespace

py::object plain(const py::handle& given) {
  if (is_text(given)) return bytes_of(py::module_::import("os").attr("fsdecode")(given));
  if (py::isinstance<py::bytes>(given)) throw py::cast_error();  // pybind11 would take it for text
  return py::reinterpret_borrow<py::object>(given);
}

py::object plain_list(const py::handle& given) {
  py::list out;
  if (is_text(given))
    out.append(plain(given));
  else if (py::isinstance<py::dict>(given))  // whose names alone would be taken
    throw py::cast_error();
  else if (py::isinstance<py::iterable>(given))
    for (const py::handle& item : given) out.append(plain(item));
  else if (!given.is_none())
    throw py::cast_error();
  return out;
}

py::object path_of(const std::string& path) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(path.data(), static_cast<Py_ssize_t>(path.size()), "surrogateescape"));
}

int take_threads(py::dict& given) {
  const auto threads = take<int64_t>(given, "threads");
  if (threads < 0 || threads > kMostThreads)
    throw usage_error("threads", "is out of range", "0 (one a core) to " + std::to_string(kMostThreads),
                      std::to_string(threads));
  return threads > 0 ? static_cast<int>(threads) : default_threads();
}

Watch take_watch(py::dict& given) {
  const py::object callback = given.contains("progress") ? py::object(given.attr("pop")("progress")) : py::none();
  if (!callback.is_none() && !PyCallable_Check(callback.ptr()))
    throw usage_error("progress", "has another type", "a function", printable(py::repr(callback).cast<std::string>()));
  return Watch(callback);
}

Watch::Watch(py::object callback) : callback_(std::move(callback)) {}

Flow Watch::ask(const Event& event) {
  if (raised_) return Flow::Stop;
  const py::gil_scoped_acquire gil;
  try {
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (callback_.is_none()) return Flow::GoOn;
    py::dict metrics;
    for (const Metric& metric : event.metrics) metrics[metric.name.c_str()] = metric.value;
    py::dict told;
    told["stage"] = std::string(event.stage), told["unit"] = std::string(event.unit), told["done"] = event.done,
    told["total"] = event.total;
    told["metrics"] = metrics, told["message"] = std::string(event.message);
    told["part"] = event.part, told["parts"] = event.parts, told["later_s"] = event.later_s;
    return callback_(told).is(py::bool_(false)) ? Flow::Stop : Flow::GoOn;
  } catch (...) {
    raised_ = std::current_exception();
    return Flow::Stop;
  }
}

void Watch::rethrow() const {
  if (raised_) std::rethrow_exception(raised_);
}

std::string runtime_program() {
  return py::module_::import("_attar_programs").attr("runtime_program")().cast<std::string>();
}

}  // namespace attar::python
