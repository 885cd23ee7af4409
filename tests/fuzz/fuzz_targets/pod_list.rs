//! The kubelet's answer: the same pods, or the same refusal, in whatever pieces it comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::pods::{ListReader, PodIndex};

fuzz_target!(|data: &[u8]| {
    let read = |piece: usize| {
        let mut reader = ListReader::default();
        for bytes in data.chunks(piece) {
            reader.push(bytes)?;
        }
        reader.finish()
    };
    let at_once = read(data.len().max(1));
    let in_pieces = read(7);
    // Where it is refused, what is quoted depends on how much had come.
    assert_eq!(at_once.as_ref().ok(), in_pieces.as_ref().ok());
    if let Ok(list) = at_once {
        let index = PodIndex::default().updated(list.pods, Default::default());
        assert!(index.present().count() <= index.pods_known());
    }
});
