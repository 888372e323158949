//! The pid file: the predecessor's way to find a running process, kept for hooks that know no other.

use super::error::AdminError;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The pid file of this process. Removed when dropped, if it still names this process.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes it, in place of one that there may be.
    pub fn create(path: &Path) -> Result<PidFile, AdminError> {
        let mut temporary = path.as_os_str().to_os_string();
        temporary.push(".new");
        // Readers see the old number or the new one, never a part of it.
        let written = fs::write(&temporary, format!("{}\n", getpid())).and_then(|()| fs::rename(&temporary, path));
        let shown = || path.display().to_string();
        written.map_err(|cause| AdminError::Kernel { action: "writing the pid file", path: shown(), cause })?;
        Ok(PidFile { path: path.to_path_buf() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if read(&self.path).is_ok_and(|pid| pid == getpid()) {
            // What stays names a process that is gone, and is not believed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Sends SIGTERM to the process that the pid file names, if it runs this program; its id.
pub fn terminate(path: &Path) -> Result<u32, AdminError> {
    let wrong = |problem: String| AdminError::PidFile { path: path.display().to_string(), problem };
    let pid = read(path).map_err(wrong)?;
    let gone = || wrong(format!("names process {pid}, which is gone"));
    // A number is given to another process once its own has ended; what this refers to stays the same.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Some(process),
        Err(Errno::SRCH) => return Err(gone()),
        // Older kernels and some sandboxes do not have it.
        Err(_) => None,
    };
    match runs_this_program(pid) {
        Ok(true) => {}
        Ok(false) => return Err(wrong(format!("names process {pid}, which is another program: it is left alone"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
        Err(error) => return Err(wrong(format!("names process {pid}, which cannot be looked at: {error}"))),
    }
    let sent = match process {
        Some(process) => pidfd_send_signal(process, Signal::TERM),
        None => kill_process(pid, Signal::TERM),
    };
    sent.map_err(|errno| wrong(format!("names process {pid}, which takes no signal from us: {errno}")))?;
    Ok(pid.as_raw_nonzero().get().unsigned_abs())
}

fn read(path: &Path) -> Result<Pid, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let number = text.trim().parse::<i32>().ok().filter(|number| *number > 0).and_then(Pid::from_raw);
    number.ok_or_else(|| "does not hold a process id".to_string())
}

/// Whether a process other than this one runs the same file, or one of the same name: an upgrade replaces the file.
fn runs_this_program(pid: Pid) -> io::Result<bool> {
    if pid == getpid() {
        return Ok(false);
    }
    let (theirs, ours) = (format!("/proc/{pid}/exe"), "/proc/self/exe");
    let (their_file, our_file) = (fs::metadata(&theirs)?, fs::metadata(ours)?);
    let (their_path, our_path) = (fs::read_link(&theirs)?, fs::read_link(ours)?);
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().trim_end_matches(" (deleted)").to_string());
    let is_same_file = their_file.dev() == our_file.dev() && their_file.ino() == our_file.ino();
    Ok(is_same_file || name(&their_path) == name(&our_path))
}
