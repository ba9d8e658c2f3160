// Ranks as threads of one process, which share nothing but their sockets.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "distill/ranks/ranks.h"
#include "distill/ranks/shared_training.h"

namespace attar {

// A socket that listens at a port which nobody else has.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 1) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no port");
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(socket_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  int port() const { return port_; }

 private:
  int socket_, port_ = 0;
};

inline RankPlace place_of(int rank, int size, int port) {
  return {.rank = rank, .size = size, .address = "127.0.0.1", .port = port};
}

// `work` at rank 0, others beside it. `asked`: whether a rank was asked to stop. -> what each said when it ended by an
// error
inline std::vector<std::string> in_ranks(int size, const std::function<void(Ranks&)>& work,
                                         const std::function<bool(int rank)>& asked = {}) {
  const int port = Listener().port();
  std::vector<std::string> said(static_cast<size_t>(size));
  const auto process = [&](int rank) {
    try {
      Ranks ranks(place_of(rank, size, port), 1, [&asked, rank] { return asked && asked(rank); });
      if (rank > 0) return serve_trainings(ranks);
      work(ranks);
      dismiss(ranks);
    } catch (const std::exception& error) {
      said[static_cast<size_t>(rank)] = error.what();
    }
  };
  std::vector<std::thread> others;
  for (int rank = 1; rank < size; ++rank) others.emplace_back(process, rank);
  process(0);
  for (std::thread& other : others) other.join();
  return said;
}

}  // namespace attar
