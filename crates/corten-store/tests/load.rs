//! Archives of other programs, and archives that lie.

mod common;

use std::path::Path;

use common::{Archive, gzip, have, run, skip, tree};
use corten_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, MediaType, Platform};
use corten_store::{ImportOptions, LoadError, LoadOptions, Store, StoreError};

fn layer(content: &str) -> Vec<u8> {
    Archive::new().dir("etc").file("etc/f", content).end()
}

fn config(layers: &[&[u8]]) -> ImageConfig {
    let mut config = ImageConfig::new(&Platform::host());
    config.rootfs.diff_ids = layers.iter().map(Digest::sha256).collect();
    config
}

/// A Docker archive of two layers, of which each part can be spoilt.
struct DockerArchive {
    config: Vec<u8>,
    config_name: String,
    manifest: String,
    members: Archive,
}

fn docker() -> DockerArchive {
    let (one, two) = (layer("1"), layer("2"));
    let config = config(&[&one, &two]).to_bytes();
    let config_name = format!("{}.json", Digest::sha256(&config).hex());
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":["app:v1","app:v2"],"Layers":["a/layer.tar","b/layer.tar"]}}]"#
    );
    let members = Archive::new()
        .entry(corten_store::tar::Entry::file("a/layer.tar"), &one)
        .entry(corten_store::tar::Entry::file("b/layer.tar"), &two);
    DockerArchive { config, config_name, manifest, members }
}

impl DockerArchive {
    fn bytes(self) -> Vec<u8> {
        let members = self.members.entry(corten_store::tar::Entry::file(&*self.config_name), &self.config);
        members.file("repositories", "{}").file("manifest.json", &self.manifest).end()
    }
}

fn load(bytes: &[u8]) -> (tempfile::TempDir, Store, Result<Vec<corten_store::Loaded>, StoreError>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let loaded = store.load(bytes, &LoadOptions::default());
    if loaded.is_err() {
        for name in ["tmp", "layers", "blobs/sha256"] {
            let count = std::fs::read_dir(dir.path().join("store").join(name)).unwrap().count();
            assert_eq!(count, 0, "{name} is not empty after {loaded:?}");
        }
    }
    (dir, store, loaded)
}

#[test]
fn docker_archive() {
    let plain = docker().bytes();
    for bytes in [plain.clone(), gzip(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
        let (_dir, store, loaded) = load(&bytes);
        let loaded = loaded.unwrap();
        assert_eq!(loaded[0].names.len(), 2);
        assert_eq!(loaded[0].id.digest(), &Digest::sha256(docker().config));
        let image = store.resolve("app:v2", None).unwrap();
        assert_eq!(image.id, loaded[0].id);
        assert_eq!(std::fs::read(image.layers[1].join("etc/f")).unwrap(), b"2");
        assert_eq!(image.size_bytes, Some(2));
    }
}

#[test]
fn docker_archive_with_links() {
    // docker save writes a layer once and links to it where it comes again.
    let mut archive = docker();
    let one = layer("1");
    archive.config = config(&[&one, &one]).to_bytes();
    archive.config_name = format!("{}.json", Digest::sha256(&archive.config).hex());
    archive.manifest = archive.manifest.replace(&docker().config_name, &archive.config_name);
    archive.members = Archive::new()
        .symlink("b/layer.tar", "../a/layer.tar")
        .entry(corten_store::tar::Entry::file("a/layer.tar"), &one);
    let (_dir, store, loaded) = load(&archive.bytes());
    loaded.unwrap();
    let image = store.resolve("app:v1", None).unwrap();
    assert_eq!(image.layers[0], image.layers[1]);
}

#[test]
fn docker_archives_that_lie() {
    type Spoil = fn(&mut DockerArchive);
    let cases: Vec<(&str, Spoil, &str)> = vec![
        ("no layer", |a| a.manifest = a.manifest.replace("b/layer.tar", "c/layer.tar"), "does not have it"),
        (
            "layer outside",
            |a| a.manifest = a.manifest.replace("b/layer.tar", "../../etc/passwd"),
            "out of the archive",
        ),
        (
            "layer on the host",
            |a| a.manifest = a.manifest.replace("b/layer.tar", "/etc/passwd"),
            "does not have it",
        ),
        (
            "link outside",
            |a| a.members = Archive::new().symlink("b/layer.tar", "../../../etc/passwd"),
            "out of the archive",
        ),
        (
            "link to the host",
            |a| a.members = Archive::new().file("a/layer.tar", "").symlink("b/layer.tar", "/etc/passwd"),
            "leads nowhere",
        ),
        (
            "link in a circle",
            |a| {
                a.members = Archive::new()
                    .symlink("a/layer.tar", "../b/layer.tar")
                    .symlink("b/layer.tar", "../a/layer.tar")
            },
            "in a circle",
        ),
        ("dot-dot member", |a| a.members = Archive::new().file("../x", ""), "out of the archive"),
        (
            "member twice",
            |a| a.members = std::mem::take(&mut a.members).file("a/layer.tar", "other"),
            "twice",
        ),
        (
            "a layer less",
            |a| a.manifest = a.manifest.replace(",\"b/layer.tar\"", ""),
            "2 layers and the manifest 1",
        ),
        (
            "layers exchanged",
            |a| {
                a.manifest = a
                    .manifest
                    .replace("[\"a/layer.tar\",\"b/layer.tar\"]", "[\"b/layer.tar\",\"a/layer.tar\"]")
            },
            "diff-id",
        ),
        ("config of another name", |a| a.config.push(b' '), "digest of other content"),
        (
            "config is no config",
            |a| {
                a.config = b"{}".to_vec();
                a.config_name = "c.json".into();
                a.manifest = a.manifest.replace(&docker().config_name, "c.json");
            },
            "image config",
        ),
        (
            "config of 9 MiB",
            |a| {
                a.config = vec![b' '; 9 << 20];
                a.config_name = "c.json".into();
                a.manifest = a.manifest.replace(&docker().config_name, "c.json");
            },
            "are read of it",
        ),
        ("bad name", |a| a.manifest = a.manifest.replace("app:v1", "App"), "lowercase"),
        ("manifest of 5 MiB", |a| a.manifest += &" ".repeat(5 << 20), "are read of it"),
        ("no JSON", |a| a.manifest = "[".into(), "manifest.json"),
        ("no image", |a| a.manifest = "[]".into(), "lists no image"),
        (
            "layer that escapes",
            |a| {
                let evil = Archive::new().file("../x", "").end();
                let one = layer("1");
                a.config = config(&[&one, &evil]).to_bytes();
                a.config_name = "c.json".into();
                a.manifest = a.manifest.replace(&docker().config_name, "c.json");
                a.members = Archive::new()
                    .entry(corten_store::tar::Entry::file("a/layer.tar"), &one)
                    .entry(corten_store::tar::Entry::file("b/layer.tar"), &evil);
            },
            "`..`",
        ),
    ];
    for (name, spoil, words) in cases {
        let mut archive = docker();
        spoil(&mut archive);
        let (_dir, _store, loaded) = load(&archive.bytes());
        let error = loaded.expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn what_is_no_archive() {
    for (bytes, words) in [
        (b"hello".to_vec(), "middle"),
        (Archive::new().file("x", "").end(), "no image archive"),
        (Archive::new().file("repositories", "{}").end(), "before Docker 1.10"),
        (Vec::new(), "no image archive"),
    ] {
        let (_dir, _store, loaded) = load(&bytes);
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// A layout in memory: blobs by digest, and index.json.
#[derive(Default)]
struct Layout {
    blobs: Vec<(Digest, Vec<u8>)>,
    index: Vec<Descriptor>,
}

impl Layout {
    fn blob(&mut self, media_type: MediaType, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.blobs.push((descriptor.digest.clone(), bytes.to_vec()));
        descriptor
    }

    fn image(&mut self, platform: &str, content: &str) -> Descriptor {
        let platform: Platform = platform.parse().unwrap();
        let bytes = layer(content);
        let mut config = config(&[&bytes]);
        (config.os, config.architecture) = (platform.os.clone(), platform.architecture.clone());
        let layer = self.blob(MediaType::OCI_LAYER_GZIP, &gzip(&bytes));
        let config = self.blob(MediaType::OCI_CONFIG, &config.to_bytes());
        let mut manifest = self.blob(MediaType::OCI_MANIFEST, &Manifest::new(config, vec![layer]).to_bytes());
        manifest.platform = Some(platform);
        manifest
    }

    fn named(&mut self, mut descriptor: Descriptor, name: &str) {
        descriptor.annotations.insert("org.opencontainers.image.ref.name".into(), name.into());
        self.index.push(descriptor);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut archive = Archive::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        for (digest, bytes) in &self.blobs {
            let path = format!("blobs/sha256/{}", digest.hex());
            archive = archive.entry(corten_store::tar::Entry::file(path), bytes);
        }
        let index = Index::new(self.index.clone()).to_bytes();
        archive.entry(corten_store::tar::Entry::file("index.json"), &index).end()
    }
}

#[test]
fn layouts() {
    let mut layout = Layout::default();
    let host = Platform::host().to_string();
    let image = layout.image(&host, "1");
    layout.named(image.clone(), "quay.io/a/b:v1");
    layout.named(image, "quay.io/a/b:v2");
    let other = layout.image(&host, "2");
    layout.named(other, "latest");
    let (_dir, store, loaded) = load(&layout.bytes());
    let loaded = loaded.unwrap();
    assert_eq!(loaded.iter().map(|l| l.names.len()).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(store.resolve("quay.io/a/b:v2", None).unwrap().manifest_digest, layout.index[0].digest);
    let base = LoadOptions { base_name: Some("app".parse().unwrap()), ..LoadOptions::default() };
    store.load(&layout.bytes()[..], &base).unwrap();
    assert_eq!(store.resolve("app", None).unwrap().id, loaded[1].id);
}

#[test]
fn several_platforms() {
    let mut layout = Layout::default();
    let foreign = if Platform::host().architecture == "riscv64" { "linux/s390x" } else { "linux/riscv64" };
    let (a, b) = (layout.image(foreign, "1"), layout.image(&Platform::host().to_string(), "2"));
    let mut absent = Descriptor::of(MediaType::OCI_MANIFEST, b"not here");
    absent.platform = Some("linux/ppc64le".parse().unwrap());
    let index = layout.blob(MediaType::OCI_INDEX, &Index::new(vec![a, b, absent]).to_bytes());
    let outer = layout.blob(MediaType::OCI_INDEX, &Index::new(vec![index]).to_bytes());
    layout.named(outer, "app:v1");
    let (_dir, store, loaded) = load(&layout.bytes());
    let loaded = loaded.unwrap();
    let image = store.resolve("app:v1", None).unwrap();
    assert_eq!(image.id, loaded[0].id);
    assert!(image.layers[0].join("etc/f").exists());
    assert_eq!(store.resolve(image.id.short(), None).unwrap().id, image.id);
    let foreign = foreign.parse().unwrap();
    let other = store.resolve("app:v1", Some(&foreign)).unwrap();
    assert!(!other.layers[0].exists());
    store.ensure_layers(&other, &corten_store::UnpackOptions::of_this_process()).unwrap();
    assert_eq!(std::fs::read(other.layers[0].join("etc/f")).unwrap(), b"1");
    let none = "linux/mips64".parse().unwrap();
    assert!(matches!(store.resolve("app:v1", Some(&none)), Err(StoreError::NoPlatform { .. })));
}

#[test]
fn layouts_that_lie() {
    type Spoil = fn(&mut Layout);
    let cases: Vec<(&str, Spoil, &str)> = vec![
        ("blob of other content", |l| l.blobs[0].1[20] ^= 1, "the content that came has digest"),
        ("blob longer", |l| l.blobs[0].1.push(0), "were announced"),
        ("blob missing", |l| drop(l.blobs.remove(0)), "does not have it"),
        (
            "digest by md5",
            |l| {
                let text = String::from_utf8(serde_json::to_vec(&l.index[0]).unwrap()).unwrap();
                let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
                l.index[0] = serde_json::from_str(&text.replace(l.index[0].digest.as_str(), md5)).unwrap();
            },
            "not one we can verify",
        ),
        ("size in the index", |l| l.index[0].size += 1, "were announced"),
        (
            "media type of another kind",
            |l| l.index[0].media_type = MediaType::DOCKER_MANIFEST,
            "was given as",
        ),
        ("schema 1", |l| l.index[0].media_type = MediaType::DOCKER_SCHEMA1_SIGNED, "was given as"),
        (
            "both manifests and layers",
            |l| {
                let bytes = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
                l.index[0] = l.blob(MediaType::OCI_MANIFEST, bytes);
            },
            "taken for two things",
        ),
        ("data that is not the content", |l| l.index[0].data = Some("Zm9v".into()), "`data` is not"),
        (
            "deep index",
            |l| {
                for _ in 0..8 {
                    let below = l.index.remove(0);
                    let index = l.blob(MediaType::OCI_INDEX, &Index::new(vec![below]).to_bytes());
                    l.index.push(index);
                }
            },
            "nested more than",
        ),
    ];
    for (name, spoil, words) in cases {
        let mut layout = Layout::default();
        let image = layout.image(&Platform::host().to_string(), "1");
        layout.named(image, "app:v1");
        spoil(&mut layout);
        let (_dir, _store, loaded) = load(&layout.bytes());
        let error = loaded.expect_err(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn directories_and_links_out_of_them() {
    let mut layout = Layout::default();
    let image = layout.image(&Platform::host().to_string(), "1");
    layout.named(image, "app:v1");
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("layout");
    std::fs::create_dir(&source).unwrap();
    let archive = dir.path().join("a.tar");
    std::fs::write(&archive, layout.bytes()).unwrap();
    run("tar", &["-xf", archive.to_str().unwrap(), "-C", source.to_str().unwrap()]);
    let store = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!(store.load_directory(&source, &LoadOptions::default()).unwrap().len(), 1);
    let blob = source.join("blobs/sha256").join(layout.blobs[0].0.hex());
    std::fs::rename(&blob, dir.path().join("outside")).unwrap();
    std::os::unix::fs::symlink("../../../outside", &blob).unwrap();
    let error = store.load_directory(&source, &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Load(LoadError::Link(_))), "{error}");
    std::fs::remove_file(&blob).unwrap();
    run("mkfifo", &[blob.to_str().unwrap()]);
    let error = store.load_directory(&source, &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Load(LoadError::Missing(_))), "{error}");
}

fn imported(root: &Path) -> (Store, corten_store::Image) {
    let store = Store::open(root).unwrap();
    let options = ImportOptions { reference: Some("app:v1".parse().unwrap()), ..ImportOptions::default() };
    let busybox = std::fs::read("/bin/busybox").unwrap_or_else(|_| b"no busybox here".to_vec());
    let bytes = Archive::new().dir("bin").entry(corten_store::tar::Entry::file("bin/busybox"), &busybox);
    let bytes = bytes.hardlink("bin/sh", "/bin/busybox").symlink("bin/ls", "busybox").end();
    let image = store.import(&gzip(&bytes)[..], &options).unwrap();
    (store, image)
}

#[test]
fn what_skopeo_writes() {
    if !have("skopeo") {
        return skip("skopeo is not here");
    }
    let dir = tempfile::tempdir().unwrap();
    let (_store, image) = imported(&dir.path().join("a"));
    let from = format!("oci:{}:docker.io/library/app:v1", dir.path().join("a").display());
    for transport in ["docker-archive", "oci-archive", "oci"] {
        let file = dir.path().join(transport);
        let to = format!("{transport}:{}:docker.io/library/copy:v1", file.display());
        run("skopeo", &["copy", "--insecure-policy", "-q", &from, &to]);
        let store = Store::open(&dir.path().join(format!("store-{transport}"))).unwrap();
        let loaded = if file.is_dir() {
            store.load_directory(&file, &LoadOptions::default())
        } else {
            store.load(std::fs::File::open(&file).unwrap(), &LoadOptions::default())
        };
        assert_eq!(loaded.unwrap()[0].names[0].familiar(), "copy:v1");
        let copy = store.resolve("copy:v1", None).unwrap();
        assert_eq!(copy.diff_ids(), image.diff_ids(), "{transport}");
        assert_eq!(tree(&copy.layers[0]), tree(&image.layers[0]), "{transport}");
    }
}

#[test]
fn what_umoci_writes() {
    if !have("umoci") || !common::is_root() {
        return skip("umoci is not here, or we are not root");
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    let tag = format!("{}:v1", layout.display());
    run("umoci", &["init", "--layout", layout.to_str().unwrap()]);
    run("umoci", &["new", "--image", &tag]);
    let tree_dir = dir.path().join("tree");
    std::fs::create_dir_all(tree_dir.join("sub")).unwrap();
    std::fs::write(tree_dir.join("sub/f"), "1").unwrap();
    std::fs::write(tree_dir.join("gone"), "2").unwrap();
    run("umoci", &["insert", "--image", &tag, tree_dir.to_str().unwrap(), "/data"]);
    run("umoci", &["insert", "--image", &tag, "--whiteout", "/data/gone"]);
    run(
        "umoci",
        &["insert", "--image", &tag, "--opaque", tree_dir.join("sub").to_str().unwrap(), "/data/sub"],
    );
    let store = Store::open(&dir.path().join("store")).unwrap();
    let base = LoadOptions { base_name: Some("umoci".parse().unwrap()), ..LoadOptions::default() };
    store.load_directory(&layout, &base).unwrap();
    let image = store.resolve("umoci:v1", None).unwrap();
    assert_eq!(image.layers.len(), 3);
    // overlayfs is the judge of the merged tree.
    let lower: Vec<String> = image.layers.iter().rev().map(|l| l.display().to_string()).collect();
    let merged = dir.path().join("merged");
    std::fs::create_dir(&merged).unwrap();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={} {m} && ls {m}/data && cat {m}/data/sub/f && umount {m}",
        lower.join(":"),
        m = merged.display()
    );
    let output = std::process::Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    if !output.status.success() {
        return skip(&format!("no overlay here: {}", String::from_utf8_lossy(&output.stderr)));
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "sub\n1");
}
