//! What the head of an ELF file says of a program: whether it is static, and for which machines.

use std::{fs::File, io::Read, path::Path};

use crate::arch::Arch;

/// Whether an ELF file is for `arch` and asks for no interpreter: it then runs on any machine of that architecture.
pub(crate) fn is_static(program: &Path, arch: Arch) -> bool {
    // The program headers of what a linker writes lie within the first page.
    let mut head = [0; 4096];
    let read = File::open(program).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|length| {
        head.get(..length).is_some_and(|head| asks_for_interpreter(head, arch) == Some(false))
    })
}

/// Looks for `PT_INTERP` in the program headers of a 64-bit little-endian ELF file; none if it is not one for `arch`.
fn asks_for_interpreter(head: &[u8], arch: Arch) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let machine = match arch {
        Arch::X86 => 62,
        Arch::Arm => 183,
    };
    let short = |at: usize| Some(u16::from_le_bytes(head.get(at..at.checked_add(2)?)?.try_into().ok()?));
    if head.get(..6)? != b"\x7fELF\x02\x01" || short(18)? != machine {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(head.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(short(54)?), usize::from(short(56)?));
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_is_told_from_a_dynamic_one() {
        let elf = |kinds: &[u32]| {
            let mut head = vec![0; 64];
            head[..6].copy_from_slice(b"\x7fELF\x02\x01");
            head[18] = 183;
            head[32] = 64;
            head[54] = 56;
            head[56] = u8::try_from(kinds.len()).unwrap();
            for kind in kinds {
                head.extend(kind.to_le_bytes());
                head.extend([0; 52]);
            }
            head
        };
        let table = [
            (elf(&[1, 2, 0x6474_e551]), Some(false)),
            (elf(&[6, 3, 1]), Some(true)),
            (elf(&[1, 2])[..100].to_vec(), None),
            (b"#!/bin/sh\n".to_vec(), None),
        ];
        for (head, expected) in table {
            assert_eq!(asks_for_interpreter(&head, Arch::Arm), expected, "{head:?}");
            assert_eq!(asks_for_interpreter(&head, Arch::X86), None, "of another architecture");
        }
    }
}
