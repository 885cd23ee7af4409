//! How far the log has been read, in the journal's directory: the boot and the place, one line.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "kernel-log.position";

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// The sequence number of a record of `/dev/kmsg`.
    Sequence(u64),
    /// The printk clock, microseconds: all that syslog(2) tells.
    Micros(u64),
}

/// Behind a time.
const UNIT: &str = "us";

impl Position {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix(UNIT) {
            Some(micros) => micros.parse().ok().map(Self::Micros),
            None => text.parse().ok().map(Self::Sequence),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(sequence) => write!(to, "{sequence}"),
            Self::Micros(micros) => write!(to, "{micros}{UNIT}"),
        }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    boot_id: String,
}

impl Checkpoint {
    pub(super) fn new(dir: &Path, boot_id: String) -> Self {
        Self { path: dir.join(FILE), boot_id }
    }

    /// The last place of this boot's log that needs no further look. `None`: nothing was read since it began.
    pub(super) fn read(&self) -> Option<Position> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (boot_id, position) = text.strip_suffix('\n')?.split_once(' ')?;
        (boot_id == self.boot_id).then(|| Position::parse(position)).flatten()
    }

    /// Keeps it; a crash leaves the one before.
    pub(super) fn write(&self, position: Position) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, format!("{} {position}\n", self.boot_id))?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Checkpoint,
        Position::{Micros, Sequence},
    };

    #[test]
    fn a_position_is_of_one_boot_and_damage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(dir.path(), "boot-a".to_owned());
        assert_eq!(checkpoint.read(), None);
        for position in [Sequence(7), Micros(12), Sequence(9)] {
            checkpoint.write(position).unwrap();
            assert_eq!(checkpoint.read(), Some(position));
        }
        assert_eq!(Checkpoint::new(dir.path(), "boot-b".to_owned()).read(), None);
        for damaged in ["", "boot-a", "boot-a 9", "boot-a x\n", "boot-a 9 9\n", "boot-a -1\n", "boot-a us\n"]
        {
            std::fs::write(dir.path().join(super::FILE), damaged).unwrap();
            assert_eq!(checkpoint.read(), None, "{damaged:?}");
        }
    }
}
