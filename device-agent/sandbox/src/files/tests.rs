use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use tempfile::TempDir;
use wasmbed_abi::MAX_PATH_BYTES;

use super::*;

/// A folder for a module, inside of one that is none of its business and holds `secret`.
fn files() -> (TempDir, Files) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("secret"), "secret").expect("a file");
    fs::create_dir(dir.path().join("pump")).expect("a folder");
    let files = Files::open(&dir.path().join("pump")).expect("it can be opened");
    (dir, files)
}

fn path(text: &str) -> FilePath<'_> {
    FilePath::parse(text.as_bytes()).expect("a path")
}

fn read(files: &Files, name: &str) -> Result<Vec<u8>, Errno> {
    let mut out = [0; 64];
    files.read(path(name), 0, &mut out).map(|len| out[..len].to_vec())
}

fn list(files: &Files) -> Vec<String> {
    let mut out = [0; MAX_PATH_BYTES];
    let paths = (0..).map_while(|nth| match files.list(nth, &mut out) {
        Ok(len) => Some(String::from_utf8_lossy(&out[..len]).into_owned()),
        Err(errno) => {
            assert_eq!(errno, Errno::NotFound);
            None
        }
    });
    paths.collect()
}

#[test]
fn what_is_written_is_read_from_any_offset_and_stays() {
    let (dir, files) = files();
    assert_eq!(files.write(path("log/a"), 0, b"hello"), Ok(()));
    assert_eq!(files.write(path("log/a"), 4, b"p!"), Ok(()));
    let again = Files::open(&dir.path().join("pump")).expect("it can be opened");
    let mut out = [0; 3];
    assert_eq!((again.read(path("log/a"), 3, &mut out), &out), (Ok(3), b"lp!"));
    assert_eq!(again.read(path("log/a"), 6, &mut out), Ok(0));
    assert_eq!(again.read(path("log/a"), u64::MAX, &mut out).unwrap_or(0), 0);
    assert_eq!(again.size(path("log/a")), Ok(6));
    assert_eq!(read(&again, "log/b"), Err(Errno::NotFound));
    assert_eq!(read(&again, "log/a/b"), Err(Errno::NotFound));
    assert_eq!(again.truncate(path("log/a"), 2), Ok(()));
    assert_eq!(again.truncate(path("log/a"), 100), Ok(()), "it only ever gets shorter");
    assert_eq!(read(&again, "log/a"), Ok(b"he".to_vec()));
}

#[test]
fn a_file_replaces_another_and_leaves_no_empty_folder() {
    let (dir, files) = files();
    assert_eq!(files.write(path("state"), 0, b"old"), Ok(()));
    assert_eq!(files.write(path("new/deep/state"), 0, b"new"), Ok(()));
    assert_eq!(files.rename(path("new/deep/state"), path("state")), Ok(()));
    assert_eq!(read(&files, "state"), Ok(b"new".to_vec()));
    assert_eq!(list(&files), ["state"]);
    assert_eq!(fs::read_dir(dir.path().join("pump")).expect("a folder").count(), 1);
    assert_eq!(files.rename(path("state"), path("kept/state")), Ok(()));
    assert_eq!(files.rename(path("state"), path("kept/state")), Err(Errno::NotFound));
    assert_eq!(files.remove(path("kept/state")), Ok(()));
    assert_eq!(files.remove(path("kept/state")), Err(Errno::NotFound));
    assert_eq!(fs::read_dir(dir.path().join("pump")).expect("a folder").count(), 0);
}

#[test]
fn files_are_listed_by_their_paths_and_folders_are_none() {
    let (_dir, files) = files();
    for name in ["b/z", "b/a", "c", "a"] {
        assert_eq!(files.write(path(name), 0, b""), Ok(()));
    }
    assert_eq!(list(&files), ["a", "b/a", "b/z", "c"]);
    assert_eq!(files.list(1, &mut [0; 2]), Err(Errno::NoSpace));
    for folder in
        [files.write(path("b"), 0, b"x"), files.remove(path("b")), files.rename(path("b"), path("d"))]
    {
        assert_eq!(folder, Err(Errno::Denied));
    }
    assert_eq!(files.rename(path("a"), path("b")), Err(Errno::Denied));
    assert_eq!(files.write(path("a/b"), 0, b"x"), Err(Errno::NotFound));
}

#[test]
fn links_lead_nowhere() {
    let (dir, files) = files();
    let inside = dir.path().join("pump");
    symlink("../secret", inside.join("up")).expect("a link");
    symlink(dir.path().join("secret"), inside.join("absolute")).expect("a link");
    symlink(dir.path(), inside.join("folder")).expect("a link");
    symlink("../made", inside.join("dangling")).expect("a link");
    for name in ["up", "absolute", "folder", "folder/secret", "dangling"] {
        let (name, other) = (path(name), path("other"));
        let answers = [
            files.read(name, 0, &mut [0; 8]).map(drop),
            files.write(name, 0, b"gotcha"),
            files.size(name).map(drop),
            files.truncate(name, 0),
            files.remove(name),
            files.rename(name, other),
        ];
        assert_eq!(answers, [Err(Errno::Denied); 6], "{}", name.as_str());
    }
    assert_eq!(files.write(path("mine"), 0, b"x"), Ok(()));
    assert_eq!(files.write(path("folder/new"), 0, b"x"), Err(Errno::Denied));
    assert_eq!(files.rename(path("mine"), path("folder/new")), Err(Errno::Denied));
    assert_eq!(list(&files), ["mine"]);
    assert_eq!(fs::read(dir.path().join("secret")).expect("a file"), b"secret");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2, "nothing was made outside");
}

#[test]
fn a_pipe_is_no_file_and_stops_nobody() {
    let (dir, files) = files();
    let pipe = dir.path().join("pump/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert_eq!(read(&files, "pipe"), Err(Errno::Denied));
    assert_eq!(files.write(path("pipe"), 0, b"x"), Err(Errno::Denied));
}

#[test]
fn a_module_writes_so_much_and_no_more() {
    let (dir, files) = files();
    assert_eq!(files.write(path("gap"), FILES_BYTES - 1, b"x"), Ok(()));
    let sparse = fs::metadata(dir.path().join("pump/gap")).expect("a file");
    assert!(sparse.blocks() * 512 < FILES_BYTES, "the gap counts although the disk does not hold it");
    for (offset, bytes) in [(0, &b"x"[..]), (FILES_BYTES, b"x"), (1 << 40, b"x"), (i64::MAX as u64, b"xyz")] {
        assert_eq!(files.write(path("more"), offset, bytes), Err(Errno::NoSpace), "{offset}");
        assert_eq!(files.size(path("more")), Err(Errno::NotFound), "and makes nothing");
    }
    assert_eq!(files.write(path("gap"), FILES_BYTES - 1, b"xy"), Err(Errno::NoSpace));
    assert_eq!(files.write(path("gap"), 7, b"in the middle"), Ok(()), "nothing grows");
    assert_eq!(files.truncate(path("gap"), 1), Ok(()));
    assert_eq!(files.write(path("more"), 0, b"x"), Ok(()));
}

#[test]
fn empty_files_and_folders_count_too() {
    let (_dir, files) = files();
    let deep = format!("{}x", "d/".repeat((MAX_PATH_BYTES - 1) / 2));
    let mut made = deep.split('/').count();
    assert_eq!(files.write(path(&deep), 0, b""), Ok(()));
    while made < MAX_FILES {
        assert_eq!(files.write(path(&format!("f{made}")), 0, b""), Ok(()), "{made}");
        made += 1;
    }
    assert_eq!(files.write(path("one-more"), 0, b""), Err(Errno::NoSpace));
    assert_eq!(files.write(path("new/one-more"), 0, b""), Err(Errno::NoSpace));
    assert_eq!(files.rename(path("f200"), path("new/one-more")), Err(Errno::NoSpace), "a folder is one more");
    assert_eq!(files.rename(path("f200"), path("f2")), Ok(()), "another name is not");
    assert_eq!(files.remove(path("f201")), Ok(()));
    assert_eq!(files.write(path("one-more"), 0, b""), Ok(()));
}

#[test]
fn instances_at_once_do_not_use_the_same_room() {
    let (_dir, files) = files();
    let chunk = vec![7; 1 << 20];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (files, chunk) = (files.clone(), &chunk);
            scope.spawn(move || {
                for nth in 0..8 {
                    // Half of them have no room.
                    let _ = files.write(path(&format!("{thread}-{nth}")), 0, chunk);
                }
            });
        }
    });
    let contents = files.contents().expect("it can be counted");
    assert_eq!((contents.bytes, contents.paths.len()), (FILES_BYTES, 16));
}
