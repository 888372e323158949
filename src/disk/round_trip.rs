//! Tests of reading, placing and removing together, on a real directory.

use super::{DiskError, PlaceOptions, Placer, Volume, stamp_of};
use crate::fault::{Fault, Kind};
use crate::tree::{Attributes, FileType, Found, RelPath, Timestamp};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use tempfile::TempDir;

struct Place {
    root: TempDir,
    volume: Volume,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        Place { root, volume }
    }

    fn placer(&self, fresh: bool) -> Placer {
        Placer::new(&self.volume, PlaceOptions { fresh, owners: true }).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The volume's own answer about a path is what placing it told.
    fn agrees(&self, told: &Found) {
        assert_eq!(self.volume.look(&told.path).unwrap().as_ref(), Some(told));
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Attributes that this user may give.
fn attributes(mode: u32) -> Attributes {
    let (uid, gid) = super::volume::us();
    Attributes { mode, uid, gid, mtime: Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 } }
}

fn put(placer: &Placer, at: &str, bytes: &[u8]) -> Found {
    let file = placer.file(&path(at), bytes.len() as u64).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.finish(&attributes(0o640), &[]).unwrap()
}

#[test]
fn a_file_comes_back_with_its_metadata() {
    for fresh in [true, false] {
        let place = Place::new();
        let placer = place.placer(fresh);
        let wanted = attributes(0o6751);
        let xattrs = [(b"user.colour".to_vec(), b"green\0".to_vec()), (b"user.empty".to_vec(), Vec::new())];
        // Missing directories are made; what is there is replaced.
        for content in ["first, longer", "second"] {
            let file = placer.file(&path("a/b/file"), content.len() as u64).unwrap();
            file.write_at(content.as_bytes(), 0).unwrap();
            let found = file.finish(&wanted, &xattrs).unwrap();
            assert_eq!((found.attributes, found.size, found.file_type), (wanted, content.len() as u64, FileType::File));
            place.agrees(&found);
        }
        let file = place.volume.open_file(&path("a/b/file")).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
        assert_eq!(&buffer[..6], b"second");
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 0);
        assert_eq!(file.stamp().unwrap(), stamp_of(&place.volume.look(&path("a/b/file")).unwrap().unwrap()));
        // Where the file system keeps no such attributes, that is counted instead.
        let kept = file.xattrs().unwrap();
        if placer.skipped().xattrs == 0 {
            assert_eq!(kept, xattrs);
        } else {
            assert!(kept.is_empty());
        }
        assert_eq!(place.names(), ["a"]);
    }
}

#[test]
fn a_directory_is_finished_after_its_content() {
    let place = Place::new();
    let placer = place.placer(false);
    placer.directory(&path("a/b")).unwrap();
    placer.directory(&path("a/b")).unwrap();
    put(&placer, "a/b/file", b"x");
    for closed in ["a/b", "a"] {
        let found = placer.finish_directory(&path(closed), &attributes(0o500), &[]).unwrap();
        assert_eq!(found.attributes, attributes(0o500));
        place.agrees(&found);
    }
    // A restore over it opens it up again, for its owner.
    placer.directory(&path("a")).unwrap();
    placer.directory(&path("a/b")).unwrap();
    put(&placer, "a/b/file", b"y");
}

#[test]
fn holes_stay_holes() {
    let place = Place::new();
    let size = 8 << 20;
    let file = place.placer(true).file(&path("sparse"), size).unwrap();
    file.write_at(&[1; 4096], 4 << 20).unwrap();
    let found = file.finish(&attributes(0o600), &[]).unwrap();
    assert_eq!(found.size, size);
    let file = place.volume.open_file(&path("sparse")).unwrap();
    let ranges = file.data_ranges(size).unwrap();
    if found.allocated < size {
        assert!(matches!(ranges.as_slice(), [only] if *only == (4 << 20..(4 << 20) + 4096)), "{ranges:?}");
    }
    let mut buffer = vec![7; 8192];
    assert_eq!(file.read_at(&mut buffer, (4 << 20) - 4096).unwrap(), 8192);
    assert!(buffer[..4096].iter().all(|b| *b == 0) && buffer[4096..].iter().all(|b| *b == 1));
    file.advise_sequential();
    file.drop_cache(0..size);
}

#[test]
fn links_and_pipes_are_placed_over_what_is_there() {
    let place = Place::new();
    let placer = place.placer(false);
    let first = put(&placer, "first", b"content");
    for _ in 0..2 {
        let second = placer.hard_link(&path("second"), &path("first")).unwrap();
        assert_eq!((second.identity.inode, second.identity.links), (first.identity.inode, 2));
        place.agrees(&second);
        let link = placer.symlink(&path("link"), b"../nowhere/\xff", &attributes(0o777)).unwrap();
        assert_eq!((link.file_type, link.attributes.mtime), (FileType::Symlink, attributes(0).mtime));
        assert_eq!(place.volume.read_link(&path("link")).unwrap(), b"../nowhere/\xff");
        place.agrees(&link);
        let pipe = placer.fifo(&path("pipe"), &attributes(0o620)).unwrap();
        assert_eq!((pipe.file_type, pipe.attributes), (FileType::Fifo, attributes(0o620)));
        place.agrees(&pipe);
    }
    assert_eq!(place.names(), ["first", "link", "pipe", "second"]);
    assert!(place.volume.open_file(&path("pipe")).unwrap_err().to_string().contains("it is a named pipe"));
    assert!(place.volume.open_file(&path("link")).unwrap_err().is_gone());
}

#[test]
fn metadata_alone_can_change() {
    let place = Place::new();
    let placer = place.placer(false);
    put(&placer, "file", b"x");
    placer.directory(&path("dir")).unwrap();
    placer.symlink(&path("link"), b"file", &attributes(0o777)).unwrap();
    placer.fifo(&path("pipe"), &attributes(0o600)).unwrap();
    // No rights even for the owner, and back.
    for mode in [0o000, 0o644] {
        for (name, file_type) in
            [("file", FileType::File), ("dir", FileType::Directory), ("link", FileType::Symlink), ("pipe", FileType::Fifo)]
        {
            let mode = if file_type == FileType::Symlink { 0o777 } else { mode };
            let found = placer.set_attributes(&path(name), file_type, &attributes(mode), None).unwrap();
            assert_eq!(found.attributes, attributes(mode), "{name}");
            place.agrees(&found);
        }
    }
    let error = placer.set_attributes(&path("link"), FileType::File, &attributes(0o777), None).unwrap_err();
    assert!(error.to_string().ends_with("it is a symbolic link, not a regular file"), "{error}");
}

#[test]
fn one_type_replaces_another() {
    for fresh in [true, false] {
        let place = Place::new();
        let placer = place.placer(fresh);
        placer.directory(&path("x")).unwrap();
        put(&placer, "x", b"now a file");
        placer.directory(&path("x")).unwrap();
        assert!(place.root.path().join("x").is_dir());
        placer.symlink(&path("x"), b"y", &attributes(0o777)).unwrap();
        placer.directory(&path("x")).unwrap();
        put(&placer, "x/inside", b"");
        // What a full directory holds is not ours to remove here.
        let placed = placer.file(&path("x"), 0).and_then(|file| file.finish(&attributes(0o600), &[]));
        let error = placed.unwrap_err();
        assert!(error.hint().unwrap().contains("not empty"), "{error}");
        assert_eq!(place.names(), ["x"]);
        assert!(place.root.path().join("x/inside").exists());
    }
}

#[test]
fn several_threads_place_in_one_directory() {
    for fresh in [true, false] {
        let place = Place::new();
        let placer = place.placer(fresh);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let placer = placer.clone();
                scope.spawn(move || {
                    for n in 0..25 {
                        put(&placer, &format!("a/b/{thread}-{n}"), b"x");
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(place.root.path().join("a/b")).unwrap().count(), 100);
    }
}

#[test]
fn an_unfinished_file_takes_itself_away() {
    for fresh in [true, false] {
        let place = Place::new();
        let placer = place.placer(fresh);
        let file = placer.file(&path("half"), 2 << 20).unwrap();
        file.write_at(b"x", 0).unwrap();
        drop(file);
        assert!(place.names().is_empty());
    }
}

#[test]
fn no_symbolic_link_is_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("dir")).unwrap();
    fs::write(outside.path().join("dir/secret"), "secret").unwrap();
    let place = Place::new();
    symlink(outside.path().join("dir"), place.root.path().join("link")).unwrap();
    symlink("/", place.root.path().join("slash")).unwrap();
    let secret = path("link/secret");
    let refused = |error: DiskError| assert!(error.is_gone(), "{error}");
    for step_by_step in [false, true] {
        place.volume.resolve_step_by_step(step_by_step);
        let placer = place.placer(false);
        refused(place.volume.open_file(&secret).unwrap_err());
        refused(place.volume.open_file(&path("slash/etc/passwd")).unwrap_err());
        refused(place.volume.xattrs(&path("link")).unwrap_err());
        refused(place.volume.read_link(&secret).unwrap_err());
        assert_eq!(place.volume.look(&secret).unwrap(), None);
        refused(placer.file(&secret, 0).unwrap_err());
        refused(placer.directory(&path("link/new")).unwrap_err());
        refused(placer.symlink(&secret, b"x", &attributes(0o777)).unwrap_err());
        refused(placer.set_attributes(&secret, FileType::File, &attributes(0o777), None).unwrap_err());
        refused(placer.hard_link(&path("mine"), &secret).unwrap_err());
    }
    assert_eq!(fs::metadata(outside.path().join("dir")).unwrap().nlink(), 2);
    assert_eq!(fs::read_to_string(outside.path().join("dir/secret")).unwrap(), "secret");
}

#[test]
fn a_path_longer_than_the_kernel_takes_at_once_works() {
    let place = Place::new();
    let placer = place.placer(true);
    let long = [vec!["n".repeat(250); 30].join("/"), "file".to_string()].join("/");
    put(&placer, &long, b"deep");
    assert_eq!(place.volume.look(&path(&long)).unwrap().unwrap().size, 4);
    let mut above = path(&long);
    super::remove(&place.volume, &above, FileType::File).unwrap();
    while let Some(next) = above.parent() {
        assert!(super::remove(&place.volume, &next, FileType::Directory).unwrap());
        above = next;
    }
}

#[test]
fn owners_that_may_not_be_given_are_counted() {
    let place = Place::new();
    let placer = place.placer(true);
    let wanted = Attributes { uid: 12_345, gid: 12_346, ..attributes(0o4755) };
    let file = placer.file(&path("theirs"), 0).unwrap();
    let found = file.finish(&wanted, &[]).unwrap();
    let (uid, _) = super::volume::us();
    if uid == 0 {
        assert_eq!(found.attributes, wanted);
    } else {
        assert_eq!((found.attributes.uid, found.attributes.mode), (uid, 0o755));
        assert_eq!((placer.skipped().owners, placer.skipped().modes), (1, 1));
    }
    let unasked = Placer::new(&place.volume, PlaceOptions { fresh: true, owners: false }).unwrap();
    let file = unasked.file(&path("mine"), 0).unwrap();
    let found = file.finish(&wanted, &[]).unwrap();
    assert_eq!((found.attributes.uid, found.attributes.mode), (uid, 0o755));
    assert_eq!(unasked.skipped().owners, 0);
}

#[test]
fn a_volume_tells_about_itself() {
    let place = Place::new();
    assert!(place.volume.is_empty(&[]).unwrap());
    fs::create_dir(place.root.path().join("lost+found")).unwrap();
    fs::create_dir(place.root.path().join(".vsc")).unwrap();
    assert!(!place.volume.is_empty(&[]).unwrap());
    assert!(place.volume.is_empty(&[path(".vsc")]).unwrap());
    assert!(place.volume.is_empty(&[path(".vsc")]).unwrap(), "asking twice gives the same answer");
    assert_eq!(place.volume.owner().unwrap().0, super::volume::us().0);
    assert!(place.volume.space().unwrap().available_bytes > 0);
    assert_ne!(place.volume.is_mount_point().unwrap(), Some(true));
    assert_eq!(place.volume.look(&path("nowhere/x")).unwrap(), None);
    place.volume.sync().unwrap();
}

#[test]
fn a_wrong_root_is_the_caller_s_mistake() {
    let place = Place::new();
    fs::write(place.root.path().join("file"), "").unwrap();
    let missing = Volume::open(&place.root.path().join("nowhere")).unwrap_err();
    assert_eq!((missing.kind(), missing.is_gone()), (Kind::Usage, true));
    for error in [Volume::open(&place.root.path().join("file")), Volume::create(&place.root.path().join("file"))] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{error}");
        assert!(error.to_string().ends_with("file' is not a directory"), "{error}");
    }
    let made = Volume::create(&place.root.path().join("new/deep")).unwrap();
    assert!(made.path().is_absolute() && made.is_empty(&[]).unwrap());
    assert_eq!(fs::metadata(made.path()).unwrap().permissions().mode() & 0o700, 0o700);
}
