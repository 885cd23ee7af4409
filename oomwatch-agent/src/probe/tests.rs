//! This machine's kernel: its layout, and what its verifier has to do.

use std::path::Path;

use oomwatch_common::{btf::Btf, kernel_layout};

use super::{How, Loader, Program, Settings, load, loaded as is_loaded, resolve};

#[test]
#[expect(clippy::print_stdout, reason = "a skip states its reason")]
fn this_kernels_layout_is_that_of_all_of_its_btf() {
    let path = Path::new("/sys/kernel/btf/vmlinux");
    if !path.exists() {
        println!("skipped: this kernel has no BTF");
        return;
    }
    let blob = std::fs::read(path).unwrap();
    let whole = kernel_layout::resolve(&Btf::parse(&blob).unwrap()).unwrap();
    assert_eq!(resolve(path).unwrap_or_else(|error| panic!("{}", error.text)), whole);
}

/// What a start takes is for the most part the verifier's work, which grows with each branch.
#[test]
#[expect(clippy::print_stdout, reason = "a skip states its reason")]
fn the_verifier_is_done_soon() {
    let btf = Path::new("/sys/kernel/btf/vmlinux");
    if !rustix::process::geteuid().is_root() || !btf.exists() {
        println!("skipped: it takes root and a kernel with BTF");
        return;
    }
    let resolved = resolve(btf).unwrap_or_else(|error| panic!("{}", error.text));
    let proc = Path::new("/proc");
    let settings =
        Settings { resolved: &resolved, ring_bytes: 4096, page_bytes: 4096, proc, possible_cpus: 2 };
    let mut loaded = load(&mut Loader::new(), &settings, How::Kprobes { kill_hook: true })
        .unwrap_or_else(|error| panic!("{}", error.text));
    for (name, budget) in [
        ("oom_kill_process", 8_000),
        ("oom_kill_victim", 7_500),
        ("victim_marked", 500),
        ("victim_told_and_marked", 7_500),
        ("mark_victim", 7_500),
        ("prove", 5_500),
    ] {
        let info = match loaded.ebpf.program_mut(name).unwrap() {
            Program::KProbe(program) => {
                is_loaded(program.load()).unwrap();
                program.info()
            }
            Program::RawTracePoint(program) => {
                is_loaded(program.load()).unwrap();
                program.info()
            }
            other => panic!("{name} is {other:?}"),
        };
        let Some(looked_at) = info.unwrap().verified_instruction_count() else {
            println!("skipped: this kernel does not tell");
            return;
        };
        println!("{name}: {looked_at} of {budget}");
        assert!(looked_at <= budget, "{name}: {looked_at} instructions, of {budget}");
    }
}
