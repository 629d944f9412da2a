//! Images through their life: import, resolve, list, tag, remove, collect.

mod common;

use std::path::Path;

use common::{Archive, gzip, have, run, skip, tree};
use corten_oci::{Reference, layout::blob_path};
use corten_store::{
    Conflict, ImportOptions, InUse, RemoveOptions, Removed, Store, StoreError, UnpackOptions, User,
};

fn options(name: &str) -> ImportOptions {
    ImportOptions { reference: Some(name.parse().unwrap()), ..ImportOptions::default() }
}

fn nobody() -> Result<InUse, corten_store::InUseError> {
    Ok(InUse::default())
}

fn small(content: &str) -> Vec<u8> {
    Archive::new().dir("./").dir("bin").file("bin/sh", content).end()
}

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[test]
fn import_and_resolve() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("some/where/corten");
    let store = Store::open(&root).unwrap();
    assert!(matches!(store.resolve("busybox", None), Err(StoreError::NotFound(_))));
    assert_eq!(entries(&root), 0, "looking makes nothing");
    let mode = std::os::unix::fs::PermissionsExt::mode(&root.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);

    let change = ["CMD [\"sh\"]".to_owned(), "ENV A=b".to_owned()];
    let with = ImportOptions { changes: change.to_vec(), message: Some("made".into()), ..options("busybox") };
    let image = store.import(&gzip(&small("1"))[..], &with).unwrap();
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(image.config.history[0].comment.as_deref(), Some("made"));
    assert_eq!(image.size_bytes, Some(1));
    assert_eq!(image.names, ["busybox:latest".parse().unwrap()]);
    assert_eq!(std::fs::read(image.layers[0].join("bin/sh")).unwrap(), b"1");
    assert_eq!(image.layers[0], root.join("layers").join(image.diff_ids()[0].hex()).join("fs"));

    let hex = image.id.digest().hex();
    let pinned = format!("busybox@{}", image.manifest_digest);
    for name in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        hex,
        &hex[..6],
        &image.id.to_string(),
        &pinned,
    ] {
        assert_eq!(store.resolve(name, None).unwrap().id, image.id, "{name}");
    }
    for name in ["busybox:1", "quay.io/busybox", "ffffffffffff0000"] {
        assert!(matches!(store.resolve(name, None), Err(StoreError::NotFound(_))), "{name}");
    }
    assert!(matches!(store.resolve("Busy", None), Err(StoreError::Reference(_))));
    let arm = "linux/riscv64".parse().unwrap();
    assert!(matches!(store.resolve("busybox", Some(&arm)), Err(StoreError::OtherPlatform { .. })));
    // The blob is what came, byte for byte.
    let blob = root.join(blob_path(&image.manifest.layers[0].digest));
    assert_eq!(std::fs::read(blob).unwrap(), gzip(&small("1")));
    assert_eq!(entries(&root.join("tmp")), 0);
}

#[test]
fn ambiguous_prefixes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // Seventeen images: two of them begin with the same digit.
    for n in 0..17 {
        let with = ImportOptions { message: Some(n.to_string()), ..ImportOptions::default() };
        store.import(&small("1")[..], &with).unwrap();
    }
    let listed = store.images().unwrap();
    assert_eq!(listed.len(), 17);
    let first: Vec<String> =
        listed.iter().map(|l| l.image.as_ref().unwrap().id.digest().hex()[..1].into()).collect();
    let twice = first.iter().find(|d| first.iter().filter(|e| e == d).count() > 1).unwrap();
    let error = store.resolve(twice, None).unwrap_err();
    assert!(matches!(&error, StoreError::Ambiguous { ids, .. } if ids.len() > 1), "{error}");
}

#[test]
fn a_name_moves() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let old = store.import(&small("1")[..], &options("app")).unwrap();
    let new = store.import(&small("2")[..], &options("app")).unwrap();
    assert_eq!(store.resolve("app", None).unwrap().id, new.id);
    assert_eq!(store.resolve(&old.id.to_string(), None).unwrap().names, []);
    store.tag("app", &"reg.example:5000/team/app:v1".parse().unwrap()).unwrap();
    store.tag("app", &"app:v1".parse().unwrap()).unwrap();
    store.tag(old.id.short(), &"app".parse().unwrap()).unwrap();
    assert_eq!(store.resolve("app", None).unwrap().id, old.id);
    assert_eq!(store.resolve("app:v1", None).unwrap().names.len(), 2);
    assert_eq!(store.images().unwrap().len(), 2);
    assert!(matches!(store.tag("none", &"x".parse().unwrap()), Err(StoreError::NotFound(_))));
}

#[test]
fn removing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = store.import(&small("1")[..], &options("one")).unwrap();
    let other = store.import(&small("2")[..], &options("two")).unwrap();
    store.tag("one", &"one:v1".parse().unwrap()).unwrap();
    store.tag("one", &"elsewhere/one".parse().unwrap()).unwrap();
    let remove = |name: &str, force| store.remove(name, RemoveOptions { force }, nobody);

    let name: Reference = "one:v1".parse().unwrap();
    assert_eq!(remove("one:v1", false).unwrap(), [Removed::Untagged(name)]);
    let error = remove(image.id.short(), false).unwrap_err();
    assert!(matches!(error, StoreError::Conflict(Conflict::SeveralRepositories { .. })), "{error}");
    remove("elsewhere/one", false).unwrap();
    let removed = remove(image.id.short(), false).unwrap();
    let shown: Vec<String> = removed.iter().map(ToString::to_string).collect();
    let layer = &image.diff_ids()[0];
    assert_eq!(
        shown,
        ["Untagged: one:latest".into(), format!("Deleted: {}", image.id), format!("Deleted: {layer}")]
    );
    assert!(!image.layers[0].exists() && other.layers[0].exists());
    assert!(store.resolve("one", None).is_err());
    // Three blobs of the other image, and nothing else.
    assert_eq!(entries(&dir.path().join("blobs/sha256")), 3);
    assert_eq!(entries(&dir.path().join("layers")), 1);
    assert_eq!(entries(&dir.path().join("tmp")), 0);
}

#[test]
fn images_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = store.import(&small("1")[..], &options("one")).unwrap();
    let used = |running| {
        let user = User { container: "web".into(), running };
        let images = [(image.id.clone(), vec![user])].into();
        let layers = image.diff_ids().iter().cloned().collect();
        move || Ok(InUse { images, layers })
    };
    let force = RemoveOptions { force: true };
    let error = store.remove("one", RemoveOptions::default(), used(false)).unwrap_err();
    assert!(matches!(error, StoreError::Conflict(Conflict::NameInUse { .. })), "{error}");
    let error = store.remove(image.id.short(), force, used(true)).unwrap_err();
    assert!(matches!(error, StoreError::Conflict(Conflict::Running { .. })), "{error}");
    let error = store.remove(image.id.short(), RemoveOptions::default(), used(false)).unwrap_err();
    assert!(matches!(error, StoreError::Conflict(Conflict::Stopped { .. })), "{error}");
    // By force the name of a running container's image goes, but not the image.
    let removed = store.remove("one", force, used(true)).unwrap();
    assert_eq!(removed.len(), 1);
    assert!(store.resolve(image.id.short(), None).is_ok());
    // By force the image of a stopped container goes; its layers stay while the container does.
    store.remove(image.id.short(), force, used(false)).unwrap();
    assert!(image.layers[0].exists());
    let failing = || Err("cannot read containers".into());
    assert!(matches!(store.gc(failing), Err(StoreError::InUseUnknown(_))));
    assert_eq!(store.gc(nobody).unwrap().layers, image.diff_ids());
    assert!(!image.layers[0].exists());
}

#[test]
fn what_a_session_holds_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = store.import(&small("1")[..], &options("one")).unwrap();
    let session = store.session().unwrap();
    assert!(session.hold_layer(&image.diff_ids()[0]).unwrap());
    assert!(session.hold_blob(&image.manifest.config.digest).unwrap());
    store.remove("one", RemoveOptions::default(), nobody).unwrap();
    assert!(image.layers[0].exists());
    assert!(store.has_blob(&image.manifest.config.digest));
    assert!(!store.has_blob(&image.manifest.layers[0].digest));
    drop(session);
    assert_eq!(store.gc(nobody).unwrap().layers.len(), 1);
    assert_eq!(entries(&dir.path().join("layers")), 0);
}

#[test]
fn many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::thread::scope(|scope| {
        for n in 0..6 {
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                for round in 0..5 {
                    let content = format!("{}", (n + round) % 4);
                    let image = store.import(&small(&content)[..], &options(&format!("i{n}"))).unwrap();
                    assert!(image.layers[0].join("bin/sh").exists());
                    if n % 2 == 0 {
                        store.gc(nobody).unwrap();
                    }
                }
            });
        }
    });
    let store = Store::open(root).unwrap();
    for n in 0..6 {
        let image = store.resolve(&format!("i{n}"), None).unwrap();
        assert!(image.layers[0].join("bin/sh").exists());
    }
    assert_eq!(entries(&root.join("tmp")), 0);
}

#[test]
fn damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let image = store.import(&small("1")[..], &options("one")).unwrap();
    store.import(&small("2")[..], &options("two")).unwrap();
    let path = dir.path().join(blob_path(&image.manifest.config.digest));
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(store.resolve("one", None), Err(StoreError::Damaged { path: p, .. }) if p == path));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(store.resolve("one", None), Err(StoreError::MissingBlob { .. })));
    let listed = store.images().unwrap();
    assert!(listed[0].image.is_err() && listed[1].image.is_ok());
    store.remove("one", RemoveOptions { force: true }, nobody).unwrap();
    assert_eq!(entries(&dir.path().join("layers")), 1);
}

#[test]
fn a_failed_import_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let bad = Archive::new().file("good", "1").file("../evil", "2").end();
    assert!(matches!(store.import(&bad[..], &options("one")), Err(StoreError::Unpack(_))));
    let bad = ImportOptions { changes: vec!["RUN x".into()], ..options("one") };
    assert!(matches!(store.import(&small("1")[..], &bad), Err(StoreError::Change(_))));
    for name in ["tmp", "layers", "blobs/sha256"] {
        assert_eq!(entries(&dir.path().join(name)), 0, "{name}");
    }
}

#[test]
fn deep_trees_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut archive = Archive::new();
    for n in 0..5 {
        archive = archive.file(format!("{}{n}", "d/".repeat(2000)), "");
    }
    store.import(&archive.end()[..], &options("deep")).unwrap();
    store.remove("deep", RemoveOptions::default(), nobody).unwrap();
    assert_eq!(entries(&dir.path().join("layers")) + entries(&dir.path().join("tmp")), 0);
}

#[test]
fn skopeo_reads_and_writes_in_place() {
    if !have("skopeo") {
        return skip("skopeo is not here");
    }
    let dir = tempfile::tempdir().unwrap();
    let (ours, copy) = (dir.path().join("corten"), dir.path().join("copy"));
    let store = Store::open(&ours).unwrap();
    let image = store.import(&gzip(&small("1"))[..], &options("app:v1")).unwrap();
    let from = format!("oci:{}:docker.io/library/app:v1", ours.display());
    run("skopeo", &["copy", "--insecure-policy", "-q", &from, &format!("oci:{}:app:v1", copy.display())]);
    let back = format!("oci:{}:docker.io/library/back:v2", ours.display());
    run("skopeo", &["copy", "--insecure-policy", "-q", &format!("oci:{}:app:v1", copy.display()), &back]);
    let found = store.resolve("back:v2", None).unwrap();
    assert_eq!(found.id, image.id);

    // An image that we have not unpacked.
    let fresh = dir.path().join("fresh");
    let to = format!("oci:{}:docker.io/library/app:v1", fresh.display());
    run("skopeo", &["copy", "--insecure-policy", "-q", &from, &to]);
    let store = Store::open(&fresh).unwrap();
    let found = store.resolve("app:v1", None).unwrap();
    assert!(!found.layers[0].exists());
    store.ensure_layers(&found, &UnpackOptions::of_this_process()).unwrap();
    assert_eq!(tree(&found.layers[0]), tree(&image.layers[0]));
    assert_eq!(store.resolve(found.id.short(), None).unwrap().id, image.id);
    assert_eq!(store.images().unwrap()[0].image.as_ref().unwrap().size_bytes, Some(1));
}

#[test]
fn what_is_unpacked_lies_apart() {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open};
    let dir = tempfile::tempdir().unwrap();
    let flags = |path: &std::path::Path| {
        let fd = open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (ioctl_getflags(&fd), fd)
    };
    let (Ok(before), fd) = flags(dir.path()) else { return skip("no flags of inodes here") };
    if ioctl_setflags(&fd, before | IFlags::TOPDIR).is_err() {
        return skip("this file system has no block groups");
    }
    let root = dir.path().join("store");
    Store::open(&root).unwrap().session().unwrap();
    assert!(flags(&root.join("tmp")).0.unwrap().contains(IFlags::TOPDIR));
}
