// The requests of one connection: each is judged, whatever stands between them.
#include <gtest/gtest.h>

#include "core/network/sniff.hpp"

namespace caged::network {
namespace {

using step_kind = request_stream::step::kind;

struct followed {
  std::vector<std::string> hosts;
  std::string forwarded;
  bool malformed = false;
};

// All bytes, given in pieces of `size`.
followed follow(std::string_view bytes, std::size_t size) {
  request_stream stream;
  followed out;
  std::string buffer;
  while (true) {
    const auto step = stream.next(buffer);
    if (step.what == step_kind::malformed) {
      out.malformed = true;
      return out;
    }
    if (step.what == step_kind::judge) {
      out.hosts.push_back(step.head.host);
      stream.allow();
    } else if (step.what == step_kind::forward) {
      out.forwarded += buffer.substr(0, step.count);
      buffer.erase(0, step.count);
    } else {
      if (bytes.empty()) return out;
      buffer += bytes.substr(0, size);
      bytes.remove_prefix(std::min(size, bytes.size()));
    }
  }
}

const std::string first = "GET / HTTP/1.1\r\nHost: good.example\r\n\r\n", second = "GET / HTTP/1.1\r\nHost: denied.example\r\n\r\n";

TEST(RequestStream, ASecondRequestIsSeenBehindEveryKindOfBody) {
  for (const std::string& before :
       {first, std::string("POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 5\r\n\r\nHello"),
        std::string("POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nHello\r\n0\r\nTrail: er\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 0\r\n\r\n")})
    for (const std::size_t size : {1u, 2u, 7u, 4096u}) {
      const auto seen = follow(before + second, size);
      EXPECT_EQ(seen.hosts, (std::vector<std::string>{"good.example", "denied.example"})) << before << size;
      EXPECT_EQ(seen.forwarded, before + second);
    }
}

TEST(RequestStream, ABodyIsNoRequest) {
  const auto seen = follow("POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: " + std::to_string(second.size()) + "\r\n\r\n" + second + first, 3);
  EXPECT_EQ(seen.hosts, (std::vector<std::string>{"good.example", "good.example"}));
}

TEST(RequestStream, WhatServersReadDifferentlyEndsIt) {
  const std::string chunked = "POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string& bad : {chunked + "0;\n\n" + second + "\r\n", chunked + "5\r\nHello!!\r\n", chunked + "\r\n", chunked + "-5\r\n",
                                 chunked + "0x5\r\nHello\r\n", chunked + "ffffffffffffffffff\r\n", chunked + "0\r\nA: b\n\n" + second + "\r\n",
                                 first + "\r\n" + second})
    EXPECT_TRUE(follow(bad, 4096).malformed) << bad;
  EXPECT_TRUE(follow(chunked + std::string(5000, '1'), 4096).malformed);
}

}  // namespace
}  // namespace caged::network
