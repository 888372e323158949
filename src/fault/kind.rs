//! What the caller must do about an error, and the exit code that says so.

/// The class of an error. Each class asks for a different action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A defect of this program: report it.
    Bug,
    /// The command line or the environment is wrong: correct it.
    Usage,
    /// A safety valve refused; the message names its override.
    Refused,
    /// The remote or the kernel denied access: fix credentials or rights.
    Denied,
    /// The remote could not be reached or did not answer in time: try again later.
    Unavailable,
    /// Another writer has taken over: stop writing.
    Fenced,
    /// Stored bytes are not what a key holder wrote: look at the named object.
    Corrupt,
    /// The local volume failed: disk full, I/O error, wrong kind of file.
    Volume,
    /// Stopped, or finished in part, with work left: run again.
    Unfinished,
}

impl Kind {
    /// The process's exit code for this class (0 is success).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Bug => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Denied => 4,
            Kind::Unavailable => 5,
            Kind::Fenced => 6,
            Kind::Corrupt => 7,
            Kind::Volume => 8,
            Kind::Unfinished => 9,
        }
    }

    /// One lower-case word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Bug => "bug",
            Kind::Usage => "usage",
            Kind::Refused => "refused",
            Kind::Denied => "denied",
            Kind::Unavailable => "unavailable",
            Kind::Fenced => "fenced",
            Kind::Corrupt => "corrupt",
            Kind::Volume => "volume",
            Kind::Unfinished => "unfinished",
        }
    }
}
