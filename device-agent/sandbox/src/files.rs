//! The files of one module: a folder that it cannot leave and cannot fill beyond its share.
//!
//! Every path is resolved by the kernel below the folder, so that no name and no symbolic link leads out of it.
//! How much there is is counted anew before anything grows: it is few files, and nothing has to be kept in step.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat},
    libc,
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};
use wasmbed_abi::{Errno, FILES_BYTES, FilePath, MAX_FILES};

/// The folder itself, as a path below it.
const ROOT: &str = ".";
/// A folder to find something in.
const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// The files of one module; clones are the same.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
    dir: Arc<File>,
    /// Held while something grows: two instances of the module must not use the same room.
    growing: Arc<Mutex<()>>,
}

/// What lies in the folder.
#[derive(Debug, Default)]
struct Contents {
    /// Paths of files that a module can name.
    paths: Vec<String>,
    /// Files, folders, and what else others may have put there.
    entries: usize,
    bytes: u64,
}

impl Files {
    /// Takes a folder, which must be there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let dir = File::open(folder)?;
        Ok(Files { root: folder.to_owned(), dir: Arc::new(dir), growing: Arc::default() })
    }

    /// Copies bytes from `offset` on to the start of `out` and returns how many there were.
    ///
    /// # Errors
    /// [`Errno::NotFound`]; [`Errno::Denied`] if it is no file or lies outside; [`Errno::Io`].
    pub fn read(&self, path: FilePath<'_>, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
        let (file, _) = self.file(path, OFlag::O_RDONLY)?;
        let mut len = 0;
        while let Some(rest) = out.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset.saturating_add(len as u64)) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(path, &error)),
            }
        }
        Ok(len)
    }

    /// Writes bytes from `offset` on; makes the file and its folders if need be.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] beyond the module's share or the disk's room; and as for [`read`](Files::read).
    pub fn write(&self, path: FilePath<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let end = if bytes.is_empty() { 0 } else { offset.saturating_add(bytes.len() as u64) };
        let grows = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match self.file(path, OFlag::O_WRONLY) {
            Ok((_, before)) => Some(before),
            Err(Errno::NotFound) => None,
            Err(errno) => return Err(errno),
        };
        if before.is_none_or(|before| end > before) {
            let missing = if before.is_none() { 1 + self.missing_folders(path) } else { 0 };
            self.check_share(end.saturating_sub(before.unwrap_or(0)), missing)?;
        }
        self.make_folders(path)?;
        let (file, _) = self.file(path, OFlag::O_WRONLY | OFlag::O_CREAT)?;
        let written = file.write_all_at(bytes, offset);
        if written.is_err() {
            // What a full disk left of it; fails only if nothing can be done about it.
            let _ = file.set_len(before.unwrap_or(0));
        }
        drop(grows);
        written.map_err(|error| failed(path, &error))
    }

    /// How many bytes a file has.
    ///
    /// # Errors
    /// As for [`read`](Files::read).
    pub fn size(&self, path: FilePath<'_>) -> Result<u64, Errno> {
        self.file(path, OFlag::O_RDONLY).map(|(_, bytes)| bytes)
    }

    /// Cuts off what a file has beyond `size` bytes.
    ///
    /// # Errors
    /// As for [`read`](Files::read).
    pub fn truncate(&self, path: FilePath<'_>, size: u64) -> Result<(), Errno> {
        let (file, bytes) = self.file(path, OFlag::O_WRONLY)?;
        if bytes > size { file.set_len(size).map_err(|error| failed(path, &error)) } else { Ok(()) }
    }

    /// Removes a file, and folders that are empty without it.
    ///
    /// # Errors
    /// As for [`read`](Files::read).
    pub fn remove(&self, path: FilePath<'_>) -> Result<(), Errno> {
        self.file(path, OFlag::O_RDONLY)?;
        self.unlink(path.as_str(), UnlinkatFlags::NoRemoveDir).map_err(|error| failed(path, &error))?;
        self.remove_empty_folders(path);
        Ok(())
    }

    /// Gives a file another name, durably, in place of the file that has it.
    ///
    /// # Errors
    /// As for [`write`](Files::write).
    pub fn rename(&self, from: FilePath<'_>, to: FilePath<'_>) -> Result<(), Errno> {
        let (file, _) = self.file(from, OFlag::O_RDONLY)?;
        // The name must not be on the disk before what it stands for.
        file.sync_all().map_err(|error| failed(from, &error))?;
        let grows = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.file(to, OFlag::O_RDONLY) {
            Ok(_) => {}
            Err(Errno::NotFound) => self.check_share(0, self.missing_folders(to))?,
            Err(errno) => return Err(errno),
        }
        self.make_folders(to)?;
        self.replace(from.as_str(), to.as_str()).map_err(|error| failed(to, &error))?;
        drop(grows);
        for folder in to.folders().rev().chain([ROOT]) {
            let synced = self.open_at(folder, OFlag::O_DIRECTORY).and_then(|folder| folder.sync_all());
            synced.map_err(|error| failed(to, &error))?;
        }
        self.remove_empty_folders(from);
        Ok(())
    }

    /// Copies the path of file number `nth`, in the order of their paths, to the start of `out` and returns its
    /// length.
    ///
    /// # Errors
    /// [`Errno::NotFound`] after the last one; [`Errno::NoSpace`] if it does not fit; [`Errno::Io`].
    pub fn list(&self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        let mut paths = self.contents()?.paths;
        paths.sort_unstable();
        let path = paths.get(nth as usize).ok_or(Errno::NotFound)?;
        out.get_mut(..path.len()).ok_or(Errno::NoSpace)?.copy_from_slice(path.as_bytes());
        Ok(path.len())
    }

    /// An open file and its length; nothing else that may lie there is followed, waited for or used.
    fn file(&self, path: FilePath<'_>, flags: OFlag) -> Result<(File, u64), Errno> {
        let file = self.open_at(path.as_str(), flags).map_err(|error| failed(path, &error))?;
        let metadata = file.metadata().map_err(|error| failed(path, &error))?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err(Errno::Denied) }
    }

    /// Opens what the kernel finds without leaving the folder and without following a link.
    fn open_at(&self, path: &str, flags: OFlag) -> io::Result<File> {
        let within =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        // A pipe that somebody put there stops nobody; the kernel refuses that flag for a place to find something in,
        // and a mode for what is not made.
        let waits = if flags.contains(OFlag::O_PATH) { OFlag::empty() } else { OFlag::O_NONBLOCK };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | waits).resolve(within);
        let how = if flags.contains(OFlag::O_CREAT) { how.mode(Mode::S_IRUSR | Mode::S_IWUSR) } else { how };
        Ok(openat2(&*self.dir, path, how)?.into())
    }

    /// The folder around something, and the name it has there.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(File, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((ROOT, path));
        Ok((self.open_at(folder, FOLDER)?, name))
    }

    fn unlink(&self, path: &str, kind: UnlinkatFlags) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(unlinkat(&folder, name, kind)?)
    }

    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        let ((from_folder, from), (to_folder, to)) = (self.parent(from)?, self.parent(to)?);
        Ok(renameat(&from_folder, from, &to_folder, to)?)
    }

    fn check_share(&self, more_bytes: u64, more_entries: usize) -> Result<(), Errno> {
        let Contents { entries, bytes, .. } = self.contents()?;
        let fits = bytes.saturating_add(more_bytes) <= FILES_BYTES
            && entries.saturating_add(more_entries) <= MAX_FILES;
        if fits { Ok(()) } else { Err(Errno::NoSpace) }
    }

    fn missing_folders(&self, path: FilePath<'_>) -> usize {
        path.folders().filter(|folder| self.open_at(folder, FOLDER).is_err()).count()
    }

    fn make_folders(&self, path: FilePath<'_>) -> Result<(), Errno> {
        let made = path.folders().try_for_each(|path| {
            let (folder, name) = self.parent(path)?;
            match mkdirat(&folder, name, Mode::S_IRWXU) {
                Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
                Err(error) => Err(io::Error::from(error)),
            }
        });
        made.map_err(|error| failed(path, &error))
    }

    fn remove_empty_folders(&self, path: FilePath<'_>) {
        // The first that is not empty keeps those around it.
        let _ = path.folders().rev().try_for_each(|folder| self.unlink(folder, UnlinkatFlags::RemoveDir));
    }

    fn contents(&self) -> Result<Contents, Errno> {
        self.look_around().map_err(|error| {
            tracing::error!("the files of a module cannot be counted: {error}");
            Errno::Io
        })
    }

    fn look_around(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                let entry = entry?;
                contents.entries += 1;
                // Of a link, its own: what it leads to is none of the module's.
                let (metadata, name) = (entry.metadata()?, entry.file_name());
                let Some(name) = name.to_str() else { continue };
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if metadata.is_dir() {
                    folders.push(path);
                } else if metadata.is_file() {
                    contents.bytes = contents.bytes.saturating_add(metadata.len());
                    contents.paths.extend(FilePath::parse(path.as_bytes()).is_ok().then_some(path));
                }
            }
        }
        Ok(contents)
    }
}

/// What a module is told, and why to the log where that is of use.
fn failed(path: FilePath<'_>, error: &io::Error) -> Errno {
    match error.kind() {
        // A file is where the path has a folder.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Errno::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Errno::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory | io::ErrorKind::CrossesDevices => {
            Errno::Denied
        }
        // A link, or a pipe that nobody reads; neither is a module's doing.
        _ if error.raw_os_error().is_some_and(|code| [libc::ELOOP, libc::ENXIO].contains(&code)) => {
            Errno::Denied
        }
        _ => {
            tracing::error!("the file {} of a module cannot be used: {error}", path.as_str());
            Errno::Io
        }
    }
}

#[cfg(test)]
mod tests;
