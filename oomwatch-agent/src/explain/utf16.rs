//! UTF-16, as PowerShell writes what is redirected to a file.

use std::io::{self, Read};

const LITTLE: &[u8] = &[0xff, 0xfe];
const BIG: &[u8] = &[0xfe, 0xff];
const PIECE: usize = 16 << 10;

/// The same as UTF-8, where it begins with the mark of UTF-16.
pub(super) fn decoded(head: &[u8], reader: Box<dyn Read>) -> Box<dyn Read> {
    let from: fn([u8; 2]) -> u16 = match head {
        head if head.starts_with(LITTLE) => u16::from_le_bytes,
        head if head.starts_with(BIG) => u16::from_be_bytes,
        _ => return reader,
    };
    Box::new(Utf16 { reader, from, raw: Vec::new(), text: Vec::new(), read: 0 })
}

struct Utf16 {
    reader: Box<dyn Read>,
    from: fn([u8; 2]) -> u16,
    /// Bytes that are not decoded yet: of half a character.
    raw: Vec<u8>,
    /// Decoded text, and how much of it was given.
    text: Vec<u8>,
    read: usize,
}

impl Utf16 {
    fn refill(&mut self) -> io::Result<bool> {
        let kept = self.raw.len();
        self.raw.resize(kept + PIECE, 0);
        let length = self.reader.read(self.raw.get_mut(kept..).unwrap_or_default())?;
        self.raw.truncate(kept + length);
        let mut units: Vec<u16> = self.raw.as_chunks().0.iter().map(|unit| (self.from)(*unit)).collect();
        // The first half of a pair waits for the second.
        let is_half = length > 0 && units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        if is_half {
            units.pop();
        }
        self.raw.drain(..units.len() * 2);
        self.text = String::from_utf16_lossy(&units).into_bytes();
        self.read = 0;
        Ok(length > 0)
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.text.len() {
            if !self.refill()? && self.text.is_empty() {
                return Ok(0);
            }
        }
        let rest = self.text.get(self.read..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::decoded;

    #[test]
    fn both_byte_orders_and_halves_at_the_end_are_read() {
        let text = "\u{feff}Killed \u{1f480} 日 process\r\n".repeat(3000);
        for (to, expected) in [(u16::to_le_bytes as fn(u16) -> [u8; 2], &text), (u16::to_be_bytes, &text)] {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(to).collect();
            let mut read = String::new();
            decoded(&bytes[..8], Box::new(Cursor::new(bytes.clone()))).read_to_string(&mut read).unwrap();
            assert_eq!(&read, expected);
            let mut cut = String::new();
            decoded(&bytes[..8], Box::new(Cursor::new(bytes[..21].to_vec())))
                .read_to_string(&mut cut)
                .unwrap();
            assert!(cut.starts_with("\u{feff}Killed "), "{cut}");
        }
    }
}
