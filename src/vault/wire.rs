//! Integers and byte strings as the vault writes them, and a reader that trusts nothing.

/// Why some bytes are not what the format says. The words appear in error messages after the object's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end inside a value.
    #[error("it ends inside {0}")]
    Truncated(&'static str),
    /// A value outside what the format allows.
    #[error("{0}")]
    Invalid(&'static str),
    /// Made by a newer program that uses something this one does not know.
    #[error("it uses a feature this program does not know ({0}): use a newer version")]
    Unknown(String),
    /// The frame's authentication failed.
    #[error("its {0} frame fails authentication")]
    Seal(&'static str),
}

/// Appends an unsigned LEB128 integer.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer, zigzag-coded.
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads values from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not yet read.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(FormatError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next byte.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, FormatError> {
        Ok(self.take(1, what)?[0])
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// An unsigned LEB128 integer in its shortest form.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(FormatError::Invalid("an integer is larger than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(FormatError::Invalid("an integer is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(FormatError::Invalid("an integer is larger than 64 bits"))
    }

    /// A varint that must fit a narrower type.
    pub fn narrow<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, FormatError> {
        T::try_from(self.varint(what)?).map_err(|_| FormatError::Invalid("an integer is out of range"))
    }

    /// A zigzag-coded signed integer.
    pub fn zigzag(&mut self, what: &'static str) -> Result<i64, FormatError> {
        let coded = self.varint(what)?;
        Ok((coded >> 1) as i64 ^ -((coded & 1) as i64))
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], FormatError> {
        let length = self.narrow::<usize>(what)?;
        self.take(length, what)
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, put_varint, put_zigzag};

    #[test]
    fn integers_survive_and_have_one_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(Reader::new(&out).varint("x").unwrap(), value);
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_zigzag(&mut out, value);
            assert_eq!(Reader::new(&out).zigzag("x").unwrap(), value);
        }
        assert!(Reader::new(&[0x80, 0]).varint("x").is_err(), "not the shortest form");
        assert!(Reader::new(&[0xff; 11]).varint("x").is_err(), "longer than 64 bits");
        assert!(Reader::new(&[0x80]).varint("x").is_err(), "cut off");
    }
}
