// Whom the first bytes of a connection mean; above all, what may not pass as a protocol that names nobody.
#include "core/network/sniff.hpp"

#include <gtest/gtest.h>

#include "tests/unit/network/hello.hpp"

namespace caged::network {
namespace {

using kind = sniffed::kind;
using test::extension;
using test::hello;
using test::record;
using test::server_name;

std::string get(std::string_view host, std::string_view target = "/") {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n";
}

TEST(Sniff, HelloThatHidesRepeatsOrBreaksItsNameIsNotTakenForOne) {
  EXPECT_EQ(sniff(hello(server_name("a.example") + server_name("b.example"))).what, kind::malformed);
  EXPECT_EQ(sniff(hello(extension(0, ""))).what, kind::malformed);
  EXPECT_EQ(sniff(hello(extension(0, test::sized(2, std::string("\0\0\x09", 3) + "abc")))).what, kind::malformed);
  const std::string two = std::string(1, '\0') + test::sized(2, "a.example") + std::string(1, '\0') + test::sized(2, "b.example");
  EXPECT_EQ(sniff(hello(extension(0, test::sized(2, two)))).what, kind::malformed);
  EXPECT_TRUE(sniff(hello(server_name("a.example") + extension(0xfe0d, "x"))).hidden_name);
  std::string cut = test::handshake(server_name("a.example"));
  cut[3] = static_cast<char>(cut[3] - 1);
  EXPECT_EQ(sniff(record(cut)).what, kind::malformed);
}

TEST(Sniff, HelloIsReadHoweverItIsCut) {
  const std::string whole = test::handshake(server_name("good.example"));
  for (std::size_t at = 1; at < whole.size(); ++at) {
    const std::string bytes = record(whole.substr(0, at)) + record(whole.substr(at));
    const auto seen = sniff(bytes);
    ASSERT_EQ(seen.what, kind::tls) << at;
    EXPECT_EQ(seen.name, "good.example");
    for (const std::size_t part : {std::size_t{1}, std::size_t{4}, at, bytes.size() - 1})
      EXPECT_EQ(sniff(std::string_view(bytes).substr(0, part)).what, kind::need_more) << part;
  }
  EXPECT_EQ(sniff(hello("")).what, kind::tls);
  EXPECT_EQ(sniff(hello("")).name, "");
}

TEST(Sniff, TlsThatBeginsOtherwiseIsNoOtherProtocol) {
  const std::string good = hello(server_name("good.example"));
  EXPECT_EQ(sniff(record("\x01\x00", 0x15) + good).what, kind::malformed) << "a warning first";
  EXPECT_EQ(sniff(record("\x01", 0x14) + good).what, kind::malformed);
  EXPECT_EQ(sniff(record("x", 0x17)).what, kind::malformed);
  EXPECT_EQ(sniff("\x15").what, kind::need_more);
  EXPECT_EQ(sniff(record("\x01") + record("x", 0x15)).what, kind::malformed) << "another record between the parts";
  EXPECT_EQ(sniff(std::string("\x16\x03\x01\x00\x00", 5)).what, kind::malformed) << "an empty record";
  // SSL 2 form of a ClientHello: names nobody, so it is TLS without a name.
  const auto old = sniff(std::string("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", 11));
  EXPECT_EQ(old.what, kind::tls);
  EXPECT_EQ(old.name, "");
}

TEST(Sniff, WhatAForgivingServerTakesForHttpIsHttp) {
  for (const std::string first : {"GET / HTTP/1.1\r\n", "get / http/1.1\r\n", "GET\t/\tHTTP/1.1\r\n", "X / HTTP/1.1\r\n", "\r\nGET / HTTP/1.1\r\n",
                                  "\n\n\nGET / HTTP/1.1\r\n", "GET http://denied.example/\r\n"}) {
    const auto what = sniff(first + "Host: denied.example\r\n\r\n").what;
    EXPECT_TRUE(what == kind::malformed || what == kind::http) << first;
    for (std::size_t i = 1; i < first.size() - 1; ++i)
      EXPECT_EQ(sniff(std::string_view(first).substr(0, i)).what, kind::need_more) << first << " after " << i << " bytes";
  }
  const std::string long_method(100, 'M');
  EXPECT_EQ(sniff(long_method).what, kind::need_more);
  EXPECT_EQ(sniff(long_method + " / HTTP/1.1\r\nHost: a.example\r\n\r\n").name, "a.example");
  EXPECT_EQ(sniff("GET /" + std::string(20'000, 'a')).what, kind::need_more);
  EXPECT_EQ(sniff("GET /" + std::string(sniff_limit, 'a')).what, kind::malformed);
}

TEST(Sniff, OtherProtocolsAreTold) {
  for (const char* first : {"SSH-2.0-OpenSSH_9.2\r\n", "EHLO me\r\n", "*1\r\n$4\r\nPING\r\n", "USER me\r\n", "get key\r\n"})
    EXPECT_EQ(sniff(first).what, kind::other) << first;
  EXPECT_EQ(sniff(std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8)).what, kind::other);
  EXPECT_EQ(sniff("").what, kind::need_more);
}

TEST(Head, TwoReadingsAreRefused) {
  for (const std::string bad : {
           get("good.example", "http://denied.example/"), get("good.example", "http://good.example@denied.example/"),
           get("good.example", "denied.example"), get("good.example:80@denied.example"), get("good.example denied.example", "/ x"),
           std::string("GET / HTTP/1.1\r\nHost: good.example\r\nHost: denied.example\r\n\r\n"),
           std::string("GET / HTTP/1.1\nHost: denied.example\n\nGET / HTTP/1.1\r\nHost: good.example\r\n\r\n"),
           std::string("GET / HTTP/1.1\nHost: denied.example\nX: HTTP/1.1\r\nHost: good.example\r\n\r\n"),
           std::string("GET / HTTP/1.1\r\nHost: good.example\r\nX: a\nHost: denied.example\r\n\r\n"),
           std::string("GET / HTTP/1.1\r\nHost: good.example\r\n Host: denied.example\r\n\r\n"),
           std::string("GET / HTTP/1.1\r\nHost : denied.example\r\n\r\n"),
           std::string("CONNECT denied.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n"),
           std::string("POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"),
           std::string("POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n"),
           std::string("POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: +4\r\n\r\n"),
           std::string("POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
           std::string("POST / HTTP/1.0\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"),
           std::string("GET / HTTP/1.1\r\nHost: good.example\r\nUpgrade: h2c\r\n\r\n"),
           std::string("OPTIONS * HTTP/1.1\r\nHost: good.example\r\nUpgrade: TLS/1.2\r\n\r\n"),
           std::string("PRI * HTTP/2.0\r\n\r\n")})
    EXPECT_EQ(read_head(bad).what, head_result::kind::malformed) << bad;
}

TEST(Head, OrdinaryRequestsAreRead) {
  EXPECT_EQ(read_head(get("Good.Example:8080")).head.host, "Good.Example");
  EXPECT_EQ(read_head(get("[2001:db8::1]:80")).head.host, "[2001:db8::1]");
  EXPECT_EQ(read_head(get("good.example", "http://good.example/x?u=http://other.example/")).head.host, "good.example");
  EXPECT_EQ(read_head(get("good.example", "/go?to=http://other.example/")).head.host, "good.example");
  const auto connect = read_head("CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n");
  EXPECT_EQ(connect.head.host, "good.example");
  EXPECT_TRUE(connect.head.upgrade);
  EXPECT_TRUE(read_head("GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n").head.upgrade);
  EXPECT_EQ(read_head("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n").what, head_result::kind::complete);
  EXPECT_EQ(read_head("GET / HTTP/1.1\r\nHost: a").what, head_result::kind::need_more);
}

}  // namespace
}  // namespace caged::network
