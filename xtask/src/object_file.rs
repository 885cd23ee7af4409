//! The eBPF object without what only a debugger reads.
//!
//! It is compiled with debug info for the sake of `.BTF`, by which the kernel knows the functions that it verifies by
//! themselves. What goes: DWARF, and of `.BTF.ext` (<https://docs.kernel.org/bpf/btf.html>) the source lines, which
//! the kernel would check and keep for each program.

use anyhow::{Context, Result, ensure};
use object::{
    build::{
        ByteString, Bytes,
        elf::{Builder, SectionData},
    },
    elf,
};

/// Of `struct btf_ext_header`: where the functions end and the lines begin.
const HEADER_LEN: usize = 8;
const FUNC_INFO: usize = 8;
const LINE_INFO: usize = 16;
const CORE_RELO: usize = 24;

/// The object as the agent embeds it.
pub(crate) fn embeddable(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the eBPF object is not ELF")?;
    let mut functions = false;
    for section in &mut builder.sections {
        let of = |prefix: &str| section.name.starts_with(prefix.as_bytes());
        if of(".debug_") || of(".rel.debug_") || of(".rel.BTF") {
            section.delete = true;
        } else if section.name == ByteString::from(".BTF.ext")
            && let SectionData::Data(data) = &mut section.data
        {
            *data = Bytes::from(functions_alone(data)?);
            functions = true;
        }
    }
    ensure!(functions, "the eBPF object has no BTF: was it compiled without debug info?");
    // LLVM has one table for the names of sections and symbols.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ByteString::from(".shstrtab");
        names.sh_type = elf::SHT_STRTAB;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    let mut bytes = Vec::new();
    builder.write(&mut bytes).context("cannot write the eBPF object anew")?;
    Ok(bytes)
}

/// `.BTF.ext` cut behind its functions.
fn functions_alone(data: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Result<usize> {
        let bytes = data.get(at..at + 4).context(".BTF.ext is cut off")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let (offset, len, lines) = (word(FUNC_INFO)?, word(FUNC_INFO + 4)?, word(LINE_INFO)?);
    ensure!(len > 0, ".BTF.ext has no functions");
    ensure!(word(CORE_RELO + 4)? == 0, ".BTF.ext has relocations, which would be cut off");
    ensure!(lines == offset + len, ".BTF.ext does not have its lines behind its functions");
    let mut kept = data.get(..word(HEADER_LEN - 4)? + lines).context(".BTF.ext is cut off")?.to_vec();
    for at in [LINE_INFO + 4, CORE_RELO] {
        // No lines; and what came behind them, of which there is none, now comes where they were.
        let value = if at == CORE_RELO { u32::try_from(lines)? } else { 0 };
        kept.get_mut(at..at + 4).context(".BTF.ext is cut off")?.copy_from_slice(&value.to_le_bytes());
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf_ext(len: u32, core: u32) -> Vec<u8> {
        let words: [u32; 8] = [0x0001_eb9f, 32, 0, len, len, 12, len + 12, core];
        let header = words.iter().flat_map(|word| word.to_le_bytes());
        header.chain([7; 20]).collect()
    }

    #[test]
    fn lines_go_and_functions_stay() {
        let kept = functions_alone(&btf_ext(8, 0)).unwrap();
        assert_eq!(kept.len(), 32 + 8);
        assert_eq!(
            kept[8..32],
            [[0, 0, 0, 0], [8, 0, 0, 0], [8, 0, 0, 0], [0; 4], [8, 0, 0, 0], [0; 4]].concat()
        );
        for (data, why) in [
            (btf_ext(0, 0), "no functions"),
            (btf_ext(8, 4), "relocations"),
            (btf_ext(8, 0)[..20].to_vec(), "cut off"),
            (btf_ext(24, 0), "cut off"),
        ] {
            let error = functions_alone(&data).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
