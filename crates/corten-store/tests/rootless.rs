//! The unpacker without root: as a plain user, and as root of a user namespace of one id.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use common::{Archive, have, skip};
use corten_oci::Digest;
use corten_store::tar::{Entry, EntryKind};
use corten_store::{Ids, ImportOptions, InUse, OverlayXattr, Store, UnpackOptions};

const ROOT: &str = "CORTEN_TEST_ROOTLESS_ROOT";

/// Not a test: what is run as somebody else.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let options = UnpackOptions::of_this_process();
    assert_eq!((options.ids, options.overlay), (Ids::SingleUser, OverlayXattr::User));
    let archive = Archive::new()
        .entry(Entry { uid: 5, gid: 6, ..Entry::file("f") }, b"1")
        .entry(Entry::new("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666), b"")
        .entry(Entry::new("closed", EntryKind::Directory, 0o000), b"")
        .file("closed/x", "1")
        .file("closed/.wh.gone", "")
        .file("closed/.wh..wh..opq", "")
        .xattr("caps", "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .entry(Entry::new("su", EntryKind::File, 0o4755), b"1")
        .end();
    let root: &Path = root.as_ref();
    let store = Store::open(&root.join("store")).unwrap();
    let reference = Some("app".parse().unwrap());
    let image = store.import(&archive[..], &ImportOptions { reference, ..ImportOptions::default() }).unwrap();
    assert_eq!(image.diff_ids(), [Digest::sha256(&archive)]);
    let skipped = store.layer_record(&image.diff_ids()[0]).unwrap().unwrap().skipped;
    assert_eq!((skipped.devices, skipped.owners), (1, 1));
    let fs = &image.layers[0];
    assert_eq!(fs.join("su").metadata().unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs.join("closed").metadata().unwrap().mode() & 0o7777, 0);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(fs.join("closed"), open).unwrap();
    assert!(fs.join("closed/gone").symlink_metadata().unwrap().file_type().is_char_device());
    let mut value = [0u8; 4];
    assert_eq!(rustix::fs::lgetxattr(fs.join("closed"), "user.overlay.opaque", &mut value[..]), Ok(1));
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(fs.join("closed"), closed).unwrap();
    store.remove("app", Default::default(), || Ok(InUse::default())).unwrap();
    for name in ["layers", "tmp", "blobs/sha256"] {
        assert_eq!(std::fs::read_dir(root.join("store").join(name)).unwrap().count(), 0, "{name}");
    }
}

fn as_somebody(program: &str, args: &[&str]) {
    if !common::is_root() || !have(program) {
        return skip(&format!("needs root and {program}"));
    }
    // Somebody else has to reach both the directory and this program.
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    open(dir.path(), 0o777);
    let copy = dir.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    open(&copy, 0o755);
    let output = Command::new(program)
        .args(args)
        .arg(&copy)
        .args(["--exact", "child", "--nocapture"])
        .env(ROOT, dir.path())
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_plain_user() {
    as_somebody("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"]);
}

#[test]
fn root_of_a_user_namespace_of_one_id() {
    let args = ["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "--map-root-user"];
    as_somebody("setpriv", &args);
}
