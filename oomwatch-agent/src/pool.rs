//! Memory for what was captured, all of it there before the first kill: blocks of one size, and parcels made of them.
//!
//! The capture thread takes blocks and fills them, the reporter gives them back. Neither waits for the other.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use oomwatch_common::parcel::{Piece, pieces};

/// Bytes that a block holds: with its two other members it is as long as a page.
const BLOCK_BYTES: usize = 4096 - 2 * size_of::<usize>();
/// Blocks that files may fill, beyond those that are kept for records: room for the files of some 40 incidents.
pub const FOR_FILES: usize = 192;

/// All blocks that are not in use.
#[derive(Debug)]
pub struct Pool {
    free: ArrayQueue<Box<Block>>,
    /// Files must leave so many free.
    for_records: usize,
}

#[derive(Debug)]
struct Block {
    before: Option<Box<Self>>,
    used: usize,
    bytes: [u8; BLOCK_BYTES],
}

impl Pool {
    /// Memory for the records of at least so many incidents, and for the files of the last few of them. Every page of
    /// it is touched.
    pub fn new(incidents: usize) -> Arc<Self> {
        let blocks = incidents.saturating_add(FOR_FILES);
        let pool = Self { free: ArrayQueue::new(blocks), for_records: incidents };
        for _ in 0..blocks {
            // Ones: for zeros the kernel may be asked, which gives pages only when they are written.
            pool.give_back(Box::new(Block { before: None, used: 0, bytes: [1; BLOCK_BYTES] }));
        }
        Arc::new(pool)
    }

    /// Blocks that are not in use.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    fn give_back(&self, mut block: Box<Block>) {
        block.used = 0;
        // There are as many places as blocks.
        drop(self.free.push(block));
    }
}

/// Pieces one after another, in as many blocks as they need. Dropped, it gives them back.
#[derive(Debug)]
pub struct Parcel {
    pool: Arc<Pool>,
    last: Option<Box<Block>>,
    /// Taken, and not yet begun.
    spare: Option<Box<Block>>,
    len: usize,
}

/// For what a piece asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing is left where this is not kept.
    Record,
    /// It can be done without.
    File,
}

impl Parcel {
    /// An empty one; `None` where there is no block left.
    pub fn new(pool: &Arc<Pool>) -> Option<Self> {
        let last = pool.free.pop()?;
        Some(Self { pool: Arc::clone(pool), last: Some(last), spare: None, len: 0 })
    }

    /// Adds a piece, all of it or nothing: false where there is no memory for it.
    pub fn add(&mut self, piece: &Piece<'_>, need: Need) -> bool {
        let (head, contents) = (piece.head(), piece.contents());
        if !self.reserve(head.len() + contents.len(), need) {
            return false;
        }
        self.write(&head);
        self.write(contents);
        true
    }

    /// The first piece, where it lies in one block.
    pub fn first(&self) -> Option<Piece<'_>> {
        let mut block = self.last.as_ref()?;
        while let Some(before) = &block.before {
            block = before;
        }
        pieces(block.bytes.get(..block.used)?).next().map(|(_, piece)| piece)
    }

    fn reserve(&mut self, len: usize, need: Need) -> bool {
        let here = self.last.as_ref().map_or(0, |last| BLOCK_BYTES - last.used);
        let blocks = len.saturating_sub(here).div_ceil(BLOCK_BYTES);
        let kept = if need == Need::File { self.pool.for_records } else { 0 };
        if blocks > 0 && self.pool.free().saturating_sub(kept) < blocks {
            return false;
        }
        for _ in 0..blocks {
            let Some(mut block) = self.pool.free.pop() else {
                self.give_back_spare();
                return false;
            };
            block.before = self.spare.take();
            self.spare = Some(block);
        }
        true
    }

    /// Into memory that was reserved.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(last) = &mut self.last else { return };
            let space = last.bytes.get_mut(last.used..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(space.len()));
            if let Some(to) = space.get_mut(..now.len()) {
                to.copy_from_slice(now);
            }
            last.used += now.len();
            self.len += now.len();
            bytes = later;
            if !bytes.is_empty() {
                let Some(mut next) = self.spare.take() else { return };
                self.spare = next.before.take();
                next.before = self.last.take();
                self.last = Some(next);
            }
        }
    }

    /// All pieces, in one run of bytes, in memory of the caller's.
    pub fn copy_to(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.resize(self.len, 0);
        let mut rest = bytes.as_mut_slice();
        let mut next = self.last.as_ref();
        while let Some(block) = next {
            let Some((before, space)) = rest.split_at_mut_checked(rest.len().saturating_sub(block.used))
            else {
                return;
            };
            if let Some(from) = block.bytes.get(..space.len()) {
                space.copy_from_slice(from);
            }
            rest = before;
            next = block.before.as_ref();
        }
    }

    fn give_back_spare(&mut self) {
        give_back(&self.pool, self.spare.take());
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.give_back_spare();
        give_back(&self.pool, self.last.take());
    }
}

fn give_back(pool: &Pool, mut next: Option<Box<Block>>) {
    while let Some(mut block) = next {
        next = block.before.take();
        pool.give_back(block);
    }
}

#[cfg(test)]
mod tests {
    use oomwatch_common::parcel::HEAD_LEN;

    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in_whatever_their_lengths() {
        let pool = Pool::new(0);
        let mut parcel = Parcel::new(&pool).unwrap();
        let contents: Vec<Vec<u8>> =
            [0, 1, 7, BLOCK_BYTES - HEAD_LEN, BLOCK_BYTES, 1, 3 * BLOCK_BYTES + 5, 0, 9000]
                .iter()
                .enumerate()
                .map(|(index, &len)| (0..=250).cycle().skip(index).take(len).collect())
                .collect();
        for record in &contents {
            assert!(parcel.add(&Piece::Record(record), Need::Record));
        }
        let mut bytes = vec![9; 3];
        parcel.copy_to(&mut bytes);
        let told: Vec<Piece<'_>> = pieces(&bytes).map(|(_, piece)| piece).collect();
        assert_eq!(told, contents.iter().map(|record| Piece::Record(record)).collect::<Vec<_>>());
        drop(parcel);
        assert_eq!(pool.free(), FOR_FILES, "every block is back");
    }

    #[test]
    fn files_leave_room_for_the_records_of_every_incident() {
        let pool = Pool::new(2);
        let mut one = Parcel::new(&pool).unwrap();
        let block = vec![0; BLOCK_BYTES - HEAD_LEN];
        while one.add(&Piece::Record(&block), Need::File) {}
        assert_eq!(pool.free(), 2, "which files do not get");
        let mut two = Parcel::new(&pool).unwrap();
        assert!(!two.add(&Piece::Record(&[0; BLOCK_BYTES]), Need::File), "all of it or nothing");
        assert!(two.add(&Piece::Record(&[0; BLOCK_BYTES]), Need::Record));
        assert!(!two.add(&Piece::Record(&[0; BLOCK_BYTES]), Need::Record));
        assert!(Parcel::new(&pool).is_none());
        drop(one);
        assert!(Parcel::new(&pool).is_some());
        let mut bytes = Vec::new();
        two.copy_to(&mut bytes);
        assert_eq!(
            (bytes.len(), pieces(&bytes).count()),
            (HEAD_LEN + BLOCK_BYTES, 1),
            "what did not fit is not begun"
        );
    }
}
