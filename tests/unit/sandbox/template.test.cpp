// Templates: hostile layers, images that were changed, builds cut short, the same digest twice.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "core/base/file.hpp"
#include "core/runtime/subprocess.hpp"
#include "core/sandbox/template_oci.hpp"
#include "core/sandbox/template_store.hpp"

namespace caged::sandbox {
namespace {

namespace fs = std::filesystem;

class Template : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/caged-template-XXXXXX";
    top_ = mkdtemp(name);
    fs::create_directories(top_ / "root");
  }
  void TearDown() override { fs::remove_all(top_); }

  void shell(const std::string& text) {
    runtime::program p;
    p.argv = {"sh", "-ec", text};
    p.directory = top_;
    auto done = runtime::run_program(p);
    ASSERT_TRUE(done);
    ASSERT_EQ(done->exit_code, 0) << done->errors;
  }
  // A tar that Python makes as an attacker would: `script` fills the archive `t`.
  fs::path tar(const std::string& script) {
    std::ofstream(top_ / "make.py")
        << "import tarfile, io, sys\nt = tarfile.open('layer.tar', 'w')\n"
           "def put(name, data=b'x', **more):\n  i = tarfile.TarInfo(name); i.size = len(data)\n"
           "  for k, v in more.items(): setattr(i, k, v)\n"
           "  t.addfile(i, io.BytesIO(data) if i.type == tarfile.REGTYPE else None)\n"
        << script << "\nt.close()\n";
    shell("python3 make.py");
    return top_ / "layer.tar";
  }
  result<void> apply(const fs::path& layer) {
    const int root = ::open((top_ / "root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tree_limits left;
    auto done = apply_layer(layer, root, left);
    ::close(root);
    return done;
  }
  // A folder that passes for a root file system.
  template_recipe folder_recipe() {
    fs::create_directories(top_ / "source/etc");
    fs::create_directories(top_ / "source/usr/bin");
    std::ofstream(top_ / "source/usr/bin/tool") << "#!/bin/sh\n";
    auto recipe = parse_recipe({{"name", "mine"}, {"from", "folder"}, {"path", (top_ / "source").string()}});
    EXPECT_TRUE(recipe) << describe(recipe.error());
    return *recipe;
  }
  static void quiet(std::string) {}

  fs::path top_;
};

TEST_F(Template, RecipesRefuseWhatTheyDoNotKnow) {
  const std::pair<json, const char*> wrong[] = {
      {json::array(), ""},
      {{{"name", "x"}}, "/from"},
      {{{"name", "x"}, {"from", "magic"}}, "/from"},
      {{{"name", "host"}, {"from", "debian"}}, "/name"},
      {{{"name", "../x"}, {"from", "debian"}}, "/name"},
      {{{"name", "x"}, {"from", "debian"}, {"pakages", {"curl"}}}, "/pakages"},
      {{{"name", "x"}, {"from", "debian"}, {"packages", {"--option"}}}, "/packages/0"},
      {{{"name", "x"}, {"from", "debian"}, {"packages", {"a,b"}}}, "/packages/0"},
      {{{"name", "x"}, {"from", "debian"}, {"packages", {"/tmp/evil.deb"}}}, "/packages/0"},
      {{{"name", "x"}, {"from", "debian"}, {"packages", "curl"}}, "/packages"},
      {{{"name", "x"}, {"from", "debian"}, {"suite", "a b"}}, "/suite"},
      {{{"name", "x"}, {"from", "oci"}, {"path", "relative.tar"}}, "/path"},
      {{{"name", "x"}, {"from", "folder"}, {"path", "/f"}, {"packages", {"curl"}}}, "/packages"},
      {{{"name", "x"}, {"from", "debian"}, {"source_date_epoch", "now"}}, "/source_date_epoch"}};
  for (const auto& [document, path] : wrong) {
    auto recipe = parse_recipe(document);
    ASSERT_FALSE(recipe) << document;
    EXPECT_EQ(recipe.error().path, path) << document;
    EXPECT_FALSE(recipe.error().action.empty());
  }
}

TEST_F(Template, TheShippedRecipesAreWhole) {
  auto all = shipped_recipes();
  ASSERT_TRUE(all) << describe(all.error());
  std::set<std::string> names;
  for (const auto& r : *all) names.insert(r.name);
  for (const char* name : {"minimal", "python-311", "python-312", "node-20", "node-22", "go"})
    EXPECT_TRUE(names.contains(name)) << name;
}

TEST_F(Template, MorePackagesAreAnotherTemplateOfTheSameNameEachTime) {
  const auto all = shipped_recipes();
  auto one = with_packages(all->front(), {"jq", "make"}), two = with_packages(all->front(), {"make", "jq", "make"});
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->name, two->name);
  EXPECT_NE(one->name, all->front().name);
  EXPECT_TRUE(one->derived);
  EXPECT_FALSE(with_packages(all->front(), {"--allow-unauthenticated"}));
  EXPECT_EQ(with_packages(folder_recipe(), {"jq"}).error().reason, "software_missing");
}

TEST_F(Template, NoEntryOfALayerLeadsOut) {
  fs::create_directories(top_ / "outside");
  std::ofstream(top_ / "outside/kept") << "kept";
  const std::string out = (top_ / "outside").string();
  // A link that leads out is a link inside: what goes through it stays below the root.
  (void)apply(tar("put('door', b'', type=tarfile.SYMTYPE, linkname='" + out + "')\nput('door/evil')"));
  EXPECT_FALSE(fs::exists(top_ / "outside/evil"));
  for (const std::string name : {"../evil", "a/../../evil", "usr/../../../evil"})
    EXPECT_FALSE(apply(tar("put('" + name + "')"))) << name;
  (void)apply(tar("put('hard', b'', type=tarfile.LNKTYPE, linkname='" + out + "/kept')"));
  (void)apply(tar("put('d2', b'', type=tarfile.SYMTYPE, linkname='" + out + "')\nput('d2/.wh.kept')"));
  (void)apply(tar("put('d3', b'', type=tarfile.SYMTYPE, linkname='" + out + "')\nput('d3/.wh..wh..opq')"));
  EXPECT_FALSE(apply(tar("put('x/.wh...')")));
  EXPECT_FALSE(fs::exists(top_ / "evil"));
  EXPECT_TRUE(fs::exists(top_ / "outside/kept"));
  struct stat st {};
  ::stat((top_ / "outside/kept").c_str(), &st);
  EXPECT_EQ(st.st_nlink, 1u);
}

TEST_F(Template, DevicesAndSetIdBitsStayBehind) {
  ASSERT_TRUE(apply(tar("put('null', b'', type=tarfile.CHRTYPE, devmajor=1, devminor=3)\nput('su', mode=0o6755)\n"
                        "put('dir', b'', type=tarfile.DIRTYPE, mode=0o2755)")));
  EXPECT_FALSE(fs::exists(top_ / "root/null"));
  struct stat st {};
  ASSERT_EQ(::stat((top_ / "root/su").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
}

TEST_F(Template, LayersReplaceAndDeleteAsAnImageSays) {
  ASSERT_TRUE(apply(tar("put('./a/one')\nput('a/two')\nput('b/old')\nput('c/keep')\nput('f', b'1')\n"
                        "put('g', b'', type=tarfile.LNKTYPE, linkname='f')")));
  struct stat f {}, g {};
  ::stat((top_ / "root/f").c_str(), &f);
  ::stat((top_ / "root/g").c_str(), &g);
  EXPECT_EQ(f.st_ino, g.st_ino);
  // The marker comes after what the same layer brings.
  ASSERT_TRUE(apply(tar("put('a/.wh.one')\nput('b/new')\nput('b/.wh..wh..opq')\nput('f', b'22')\n"
                        "put('c', b'', type=tarfile.SYMTYPE, linkname='b')")));
  EXPECT_FALSE(fs::exists(top_ / "root/a/one"));
  EXPECT_TRUE(fs::exists(top_ / "root/a/two"));
  EXPECT_FALSE(fs::exists(top_ / "root/b/old"));
  EXPECT_TRUE(fs::exists(top_ / "root/b/new"));
  EXPECT_TRUE(fs::is_symlink(top_ / "root/c"));
  EXPECT_EQ(fs::file_size(top_ / "root/f"), 2u);
  EXPECT_EQ(fs::file_size(top_ / "root/g"), 1u);
  EXPECT_FALSE(apply(top_ / "make.py"));  // no tar at all
}

TEST_F(Template, AnImageIsReadAndOneThatWasChangedRefused) {
  std::ofstream(top_ / "image.py") << R"py(
import hashlib, io, json, os, sys, tarfile
blobs = {}
def blob(data):
  d = hashlib.sha256(data).hexdigest(); blobs[d] = data
  return {'digest': 'sha256:' + d, 'size': len(data), 'mediaType': 'x'}
layers = []
for name in ('one', 'two'):
  raw = io.BytesIO(); t = tarfile.open(fileobj=raw, mode='w:gz')
  i = tarfile.TarInfo('etc/' + name); i.size = 1; t.addfile(i, io.BytesIO(b'x')); t.close()
  layers.append(blob(raw.getvalue()))
config = blob(json.dumps({'config': {'Env': ['PATH=/opt/bin:/usr/bin']}, 'rootfs': {'diff_ids': []}}).encode())
manifest = blob(json.dumps({'config': config, 'layers': layers}).encode())
if sys.argv[1] == 'bad': blobs[layers[1]['digest'][7:]] += b'!'
if sys.argv[1] == 'lacking': del blobs[layers[1]['digest'][7:]]
out = tarfile.open(sys.argv[1] + '.tar', 'w')
def put(name, data):
  i = tarfile.TarInfo(name); i.size = len(data); out.addfile(i, io.BytesIO(data))
put('oci-layout', b'{"imageLayoutVersion":"1.0.0"}')
put('index.json', json.dumps({'manifests': [manifest]}).encode())
for d, data in blobs.items(): put('blobs/sha256/' + d, data)
out.close()
)py";
  for (const std::string kind : {"good", "bad", "lacking"}) {
    shell("python3 image.py " + kind);
    fs::create_directories(top_ / ("work-" + kind));
    auto image = unpack_image(top_ / (kind + ".tar"), "", top_ / ("work-" + kind));
    ASSERT_EQ(image.has_value(), kind == "good") << kind;
    if (image) {
      EXPECT_EQ(image->layers.size(), 2u);
      EXPECT_EQ(image->env.at("PATH"), "/opt/bin:/usr/bin");
    } else {
      EXPECT_EQ(image.error().reason, kind == "bad" ? "layer_tampered" : "invalid_image");
    }
  }
}

TEST_F(Template, TheSameIsBuiltTwiceAndSeenWhenChanged) {
  template_store store(top_ / "store");
  ASSERT_TRUE(store.open());
  auto one = store.build(folder_recipe(), template_store::rebuild::always, quiet);
  ASSERT_TRUE(one) << describe(one.error());
  shell("sleep 0.01; cp -a source again; rm -r source; mv again source; mkdir -p source/var/log; date > source/var/log/x");
  auto two = store.build(folder_recipe(), template_store::rebuild::always, quiet);
  ASSERT_TRUE(two) << describe(two.error());
  template_store other(top_ / "other");
  ASSERT_TRUE(other.open());
  auto three = other.build(folder_recipe(), template_store::rebuild::always, quiet);
  ASSERT_TRUE(three);
  EXPECT_EQ(two->digest, three->digest);
  EXPECT_TRUE(store.check("mine", depth::names));
  std::ofstream(top_ / "store/store" / two->digest / "root/usr/bin/tool") << "#!/bin/sv\n";
  auto seen = store.check("mine", depth::names);
  ASSERT_FALSE(seen);
  EXPECT_EQ(seen.error().reason, "template_tampered");
  ASSERT_TRUE(store.build(folder_recipe(), template_store::rebuild::always, quiet));
  EXPECT_TRUE(store.check("mine", depth::contents));
}

TEST_F(Template, ABuildThatWasCutShortIsNeverUsed) {
  fs::create_directories(top_ / "store/.making-dead/entry/root/etc");
  {
    template_store store(top_ / "store");
    ASSERT_TRUE(store.open());
    EXPECT_FALSE(fs::exists(top_ / "store/.making-dead"));
    EXPECT_TRUE(store.list().empty());
    auto recipe = folder_recipe();
    recipe.path = top_ / "absent";
    EXPECT_EQ(store.build(recipe, template_store::rebuild::always, quiet).error().reason, "folder_not_found");
    EXPECT_TRUE(store.list().empty());
    ASSERT_TRUE(store.build(folder_recipe(), template_store::rebuild::always, quiet));
  }
  template_store again(top_ / "store");
  ASSERT_TRUE(again.open());
  ASSERT_EQ(again.list().size(), 1u);
  EXPECT_TRUE(again.check("mine", depth::names));
  fs::remove_all(top_ / "store/store");
  EXPECT_EQ(again.check("mine", depth::names).error().reason, "template_missing");
  EXPECT_TRUE(again.offers().empty());
}

TEST_F(Template, FilesGoWithTheLastWhoNeedsThem) {
  template_store store(top_ / "store");
  ASSERT_TRUE(store.open());
  auto t = store.build(folder_recipe(), template_store::rebuild::always, quiet);
  ASSERT_TRUE(t);
  const fs::path root = store.offers().front().root;
  ASSERT_TRUE(store.remove("mine"));
  EXPECT_EQ(store.remove("mine").error().code, errc::not_found);
  store.sweep({root});
  EXPECT_TRUE(fs::exists(root));
  store.sweep({});
  EXPECT_FALSE(fs::exists(root));
}

}  // namespace
}  // namespace caged::sandbox
