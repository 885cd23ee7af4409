//! Compressed files, known by their first bytes and not by their names.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

const GZIP: &[u8] = &[0x1f, 0x8b];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BZIP2: &[u8] = b"BZh";
/// What else people have, and what to do about it.
const OTHERS: &[(&[u8], &str)] = &[
    (b"LPKSHHRH", "it is a journal's own file: `journalctl --file FILE -k -o json | oomwatch explain`"),
    (b"PK\x03\x04", "it is a zip file: unpack it"),
    (&[0x04, 0x22, 0x4d, 0x18], "it is compressed with lz4: `lz4cat FILE | oomwatch explain`"),
];
/// What xz -9 needs.
const MOST_KIB: u32 = 96 << 10;

/// Whether it can be read as it is.
///
/// # Errors
/// It is of a kind that must be taken apart by something else.
pub(super) fn is_plain(head: &[u8]) -> io::Result<bool> {
    match OTHERS.iter().find(|(mark, _)| head.starts_with(mark)) {
        Some((_, why)) => Err(io::Error::new(ErrorKind::InvalidData, *why)),
        None => Ok(![GZIP, XZ, ZSTD, BZIP2].iter().any(|mark| head.starts_with(mark))),
    }
}

/// What is in it. Several that were put one behind the other are one.
///
/// # Errors
/// It is damaged.
pub(super) fn open(head: &[u8], reader: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    Ok(if head.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(reader))
    } else if head.starts_with(XZ) {
        Box::new(XzReader::new_mem_limit(reader, true, MOST_KIB))
    } else if head.starts_with(ZSTD) {
        Box::new(Zstd { frame: Some(frame(BufReader::new(reader))?) })
    } else if head.starts_with(BZIP2) {
        Box::new(MultiBzDecoder::new(reader))
    } else {
        reader
    })
}

type Frame = StreamingDecoder<BufReader<Box<dyn Read>>, FrameDecoder>;

/// Frames, one behind the other.
struct Zstd {
    frame: Option<Frame>,
}

fn frame(reader: BufReader<Box<dyn Read>>) -> io::Result<Frame> {
    StreamingDecoder::new(reader).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(current) = &mut self.frame {
            match current.read(buffer)? {
                0 => {
                    let mut rest = self.frame.take().map(StreamingDecoder::into_inner);
                    let is_over =
                        rest.as_mut().map_or(Ok(true), |rest| rest.fill_buf().map(<[u8]>::is_empty))?;
                    self.frame = rest.filter(|_| !is_over).map(frame).transpose()?;
                }
                length => return Ok(length),
            }
        }
        Ok(0)
    }
}
