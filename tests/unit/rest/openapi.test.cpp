#include <sys/wait.h>

#include <cstdlib>
#include <fstream>

#include "fixture.hpp"

namespace caged::rest::testing {
namespace {

using openapi = rest_fixture;

TEST_F(openapi, the_document_is_open_and_names_every_route) {
  const auto answer = ask("GET", "/openapi.json", {}, {}, "");
  const auto document = answer.document().value();
  EXPECT_EQ(document.at("openapi"), "3.1.0");
  for (const auto* info : registry_.list()) {
    std::string method = info->method;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    ASSERT_TRUE(document.at("paths").contains(info->path)) << info->path;
    EXPECT_EQ(document.at("paths").at(info->path).at(method).at("operationId"), info->name);
  }
  const auto again = ask("GET", "/openapi.json", {}, {{"If-None-Match", std::string(answer.field("etag"))}}, "");
  EXPECT_EQ(again.status, 304);
  EXPECT_EQ(again.body, "");
}

TEST_F(openapi, a_real_validator_accepts_it) {
  if (std::system("python3 -c 'import openapi_spec_validator' 2>/dev/null") != 0)
    GTEST_SKIP() << "THE OPENAPI DOCUMENT WAS NOT VALIDATED: python3 has no openapi_spec_validator on this machine; "
                    "`./dev setup` installs it";
  std::string path = "/tmp/caged-openapi-XXXXXX";
  const int fd = mkstemp(path.data());
  ASSERT_GE(fd, 0);
  close(fd);
  std::ofstream(path) << ask("GET", "/openapi.json", {}, {}, "").body;
  const std::string command =
      "python3 -c 'import json,sys,openapi_spec_validator as v; v.validate(json.load(open(sys.argv[1])))' " + path;
  const int status = std::system(command.c_str());
  unlink(path.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace caged::rest::testing
