//! How far the log has been read, in the journal's directory: the boot and the sequence number, one line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "kernel-log.position";

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

    /// The last sequence number of this boot that needs no further look. `None`: nothing was read since it began.
    pub(super) fn read(&self) -> Option<u64> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (boot_id, sequence) = text.strip_suffix('\n')?.split_once(' ')?;
        (boot_id == self.boot_id).then(|| sequence.parse().ok()).flatten()
    }

    /// Keeps it; a crash leaves the one before.
    pub(super) fn write(&self, sequence: u64) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, format!("{} {sequence}\n", self.boot_id))?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::Checkpoint;

    #[test]
    fn a_position_is_of_one_boot_and_damage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(dir.path(), "boot-a".to_owned());
        assert_eq!(checkpoint.read(), None);
        checkpoint.write(7).unwrap();
        checkpoint.write(9).unwrap();
        assert_eq!(checkpoint.read(), Some(9));
        assert_eq!(Checkpoint::new(dir.path(), "boot-b".to_owned()).read(), None);
        for damaged in ["", "boot-a", "boot-a 9", "boot-a x\n", "boot-a 9 9\n", "boot-a -1\n"] {
            std::fs::write(dir.path().join(super::FILE), damaged).unwrap();
            assert_eq!(checkpoint.read(), None, "{damaged:?}");
        }
    }
}
