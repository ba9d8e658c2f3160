// Scalars of a training as TensorBoard reads them: records of TensorFlow's `Event` messages (protocol buffers), each
// between its length and CRC-32C sums (tensorflow/core/lib/io/record_writer.h, core/util/event.proto).
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace attar {

struct Scalar {
  std::string name;
  double value;
};

class EventFile {
 public:
  // Begins the file anew, in a folder that is made. Error{Resources}: it cannot be written.
  explicit EventFile(const std::string& path);
  // One event with all of them, as of now. Error{Resources}: the disk is full.
  void add(int64_t step, const std::vector<Scalar>& scalars);

 private:
  void write(std::string_view event);

  std::string path_;
  std::ofstream out_;
};

}  // namespace attar
