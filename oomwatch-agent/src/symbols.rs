//! Where the kernel keeps something, by its name.
//!
//! `/proc/kallsyms` has 150,000 lines, which the kernel writes one by one. A BPF program may ask for one name instead
//! (since 5.16), which is a binary search where it is needed at all: since 6.2, as are the counters for which this is.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
};

use crate::sys;

/// `bpf_kallsyms_lookup_name` (include/uapi/linux/bpf.h). To whoever may not see addresses in `/proc/kallsyms` it tells
/// none either.
const LOOK_UP: u32 = 179;
/// More than the name that is asked for, with a zero behind it; a multiple of 8.
const NAME_LEN: usize = 24;

/// Address of a kernel symbol; 0 where it is not listed or hidden (`kptr_restrict`, no CAP_SYSLOG).
pub fn address(proc: &Path, name: &str) -> u64 {
    match ask(name) {
        Some(answer) => answer,
        None => in_list(proc, name),
    }
}

/// `None` where the kernel cannot be asked.
fn ask(name: &str) -> Option<u64> {
    let program = program(name)?;
    let mut address = 0;
    match sys::run_in_kernel(&program, &mut address) {
        Ok(0) => Some(address),
        Ok(refused) => {
            tracing::debug!(name, refused, "the kernel does not tell where it is");
            Some(0)
        }
        Err(error) => {
            tracing::debug!(name, %error, "the kernel could not be asked for a symbol");
            None
        }
    }
}

/// Gives what the helper gave; the address goes to the context.
fn program(name: &str) -> Option<Vec<u64>> {
    const CONTEXT: u8 = 6;
    const STACK: u8 = 10;
    const NAME_AT: i16 = -32;
    const RESULT_AT: i16 = -8;
    let mut text = [0; NAME_LEN];
    text.get_mut(..name.len()).filter(|_| name.len() < NAME_LEN)?.copy_from_slice(name.as_bytes());
    let mut program = vec![instruction(MOVE, CONTEXT, 1, 0, 0)];
    for (place, word) in (NAME_AT..).step_by(8).zip(text.chunks_exact(4 * 2)) {
        let (low, high) = word.split_at_checked(4)?;
        program.push(instruction(LOAD_64, 1, 0, 0, u32::from_ne_bytes(low.try_into().ok()?)));
        program.push(instruction(0, 0, 0, 0, u32::from_ne_bytes(high.try_into().ok()?)));
        program.push(instruction(STORE, STACK, 1, place, 0));
    }
    program.extend([
        instruction(STORE_ZERO, STACK, 0, RESULT_AT, 0),
        instruction(MOVE, 1, STACK, 0, 0),
        instruction(ADD, 1, 0, 0, i32::from(NAME_AT).cast_unsigned()),
        instruction(SET, 2, 0, 0, u32::try_from(NAME_LEN).ok()?),
        instruction(SET, 3, 0, 0, 0),
        instruction(MOVE, 4, STACK, 0, 0),
        instruction(ADD, 4, 0, 0, i32::from(RESULT_AT).cast_unsigned()),
        instruction(CALL, 0, 0, 0, LOOK_UP),
        instruction(LOAD, 1, STACK, RESULT_AT, 0),
        instruction(STORE, CONTEXT, 1, 0, 0),
        instruction(EXIT, 0, 0, 0, 0),
    ]);
    Some(program)
}

/// Of 64 bits, to a register from another, from the instruction, or its sum with that.
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
/// 64 bits of the instruction and the next.
const LOAD_64: u8 = 0x18;
/// From and to memory, and nothing to memory.
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;
const STORE_ZERO: u8 = 0x7a;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// `struct bpf_insn` (include/uapi/linux/bpf.h).
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    let [offset_0, offset_1] = offset.to_ne_bytes();
    let [number_0, number_1, number_2, number_3] = number.to_ne_bytes();
    u64::from_ne_bytes([code, registers, offset_0, offset_1, number_0, number_1, number_2, number_3])
}

/// What `/proc/kallsyms` says.
fn in_list(proc: &Path, name: &str) -> u64 {
    let Ok(file) = fs::File::open(proc.join("kallsyms")) else { return 0 };
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::with_capacity(128);
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return 0,
            Ok(_) => {}
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if let (Some(address), Some(_), Some(symbol)) = (words.next(), words.next(), words.next())
            && symbol == name.as_bytes()
        {
            let address = std::str::from_utf8(address).ok();
            return address.and_then(|address| u64::from_str_radix(address, 16).ok()).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_only_if_there_is_room_for_it() {
        assert!(program(&"x".repeat(NAME_LEN - 1)).is_some());
        assert!(program(&"x".repeat(NAME_LEN)).is_none());
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a skip states its reason")]
    fn the_kernel_tells_what_its_list_has() {
        let proc = Path::new("/proc");
        for name in ["oom_kill_process", "__per_cpu_offset", "no_such_symbol"] {
            match ask(name) {
                Some(answer) => assert_eq!(answer, in_list(proc, name), "{name}"),
                None => println!("skipped: it takes root and Linux 5.16"),
            }
        }
    }
}
