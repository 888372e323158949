//! Values that must not be seen: wiped when dropped, never printed.

use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A secret value. `Debug` prints a placeholder; there is no `Display`.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value; it is wiped when the wrapper is dropped.
    pub fn new(value: T) -> Secret<T> {
        Secret(Zeroizing::new(value))
    }

    /// The value itself. Calls of this are what a reviewer looks for.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new(String::from("made-up-password"));
        assert_eq!(format!("{secret:?}"), "<secret>");
    }
}
