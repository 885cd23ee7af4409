//! Names of pods from a file (`--pods`), and the reports that have them.

use std::{fs::File, io::Read as _, path::Path};

use oomwatch_common::{
    attribution::PodSource,
    kernel_log::Logged,
    pods::{ListReader, PodIndex},
    report::{NamesFrom, Report},
    units::BoottimeNs,
};

use crate::refusal::Refusal;

/// Pods whose names are known; by default none.
#[derive(Default)]
pub(super) struct Pods {
    index: Option<PodIndex>,
}

impl Pods {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or is no list of pods.
    pub(super) fn read(file: &Path) -> Result<Self, Refusal> {
        let within = |why: &dyn std::fmt::Display| {
            Refusal::failed(format!(
                "--pods {}: {why}; `kubectl get pods -A -o json` prints what is wanted",
                file.display()
            ))
        };
        let mut input = File::open(file).map_err(|error| within(&error))?;
        let (mut reader, mut buffer) = (ListReader::of_a_file(), vec![0; 64 << 10]);
        loop {
            match input.read(&mut buffer).map_err(|error| within(&error))? {
                0 => break,
                length => {
                    let piece = buffer.get(..length).unwrap_or_default();
                    reader.push(piece).map_err(|error| within(&error))?;
                }
            }
        }
        let list = reader.finish().map_err(|error| within(&error))?;
        let index = PodIndex::default().updated(list.pods, BoottimeNs(0));
        Ok(Self { index: Some(index) })
    }

    /// All that is to be said of an incident of a log.
    pub(super) fn report(&self, logged: &Logged) -> Report {
        Report::of_log(logged, &self.sources(), self.why_unknown())
    }

    /// A report of before, as it is diagnosed now.
    pub(super) fn again(&self, mut report: Report) -> Report {
        report.diagnose_again(&self.sources(), self.why_unknown());
        report
    }

    fn why_unknown(&self) -> &'static str {
        match self.index {
            Some(_) => "not in the list of pods that was given",
            None => "no list of pods was given: --pods tells names",
        }
    }

    fn sources(&self) -> Vec<PodSource<'_>> {
        let source = |index| PodSource { from: NamesFrom::Kubelet, index };
        self.index.iter().map(source).collect()
    }
}
