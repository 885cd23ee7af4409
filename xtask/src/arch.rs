//! The architectures that oomwatch runs on, what others call them, and the machine that QEMU has for each.

/// An architecture that a node can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Arch {
    /// x86-64, amd64 to Debian
    #[value(name = "x86_64", alias = "amd64")]
    X86,
    /// arm64
    #[value(name = "aarch64", alias = "arm64")]
    Arm,
}

/// The machine that QEMU has for an architecture.
pub(crate) struct Board {
    /// QEMU's program.
    pub(crate) qemu: &'static str,
    /// Its arguments for what is emulated.
    pub(crate) emulated: &'static [&'static str],
    /// Those for what the processor itself executes.
    pub(crate) native: &'static [&'static str],
    /// Arguments that give the machine its second serial line, whose other end is the chardev `command`.
    pub(crate) second_line: &'static [&'static str],
    /// The kernel's name of the first serial line.
    pub(crate) console: &'static str,
    /// The kernel's name of the second one.
    pub(crate) output: &'static str,
    /// What the kernel has to be told on it.
    pub(crate) kernel: &'static str,
}

/// Without `no_timer_check` an emulated machine under load now and then panics at boot.
const PC: Board = Board {
    qemu: "qemu-system-x86_64",
    // Emulated CMPXCHG16B is slow and the kernel's slab allocator would use it all the time.
    emulated: &["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"],
    native: &["-accel", "kvm", "-cpu", "host"],
    second_line: &["-serial", "chardev:command"],
    console: "ttyS0",
    output: "ttyS1",
    kernel: "no_timer_check",
};

/// It has one serial line; the other is a PCI card, whose driver is in every kernel of Debian's, and no module.
const VIRT: Board = Board {
    qemu: "qemu-system-aarch64",
    // Pointer authentication as architected is slow to emulate, and the kernel uses it in each function.
    emulated: &["-machine", "virt", "-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"],
    native: &["-machine", "virt,gic-version=host", "-accel", "kvm", "-cpu", "host"],
    second_line: &["-device", "pci-serial,chardev=command"],
    console: "ttyAMA0",
    output: "ttyS0",
    kernel: "",
};

impl Arch {
    /// This machine's.
    pub(crate) const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Arm } else { Self::X86 };

    /// Rust's name, which is also that of `uname -m`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// Debian's name, which is also Go's and so that of container images.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// Rust's target.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// The C compiler that links for it, by the name that Debian gives it.
    pub(crate) fn c_compiler(self) -> String {
        if self == Self::HOST { "cc".to_owned() } else { format!("{}-linux-gnu-gcc", self.name()) }
    }

    /// `name` for what is this machine's, `name-aarch64` for what is another's.
    pub(crate) fn beside(self, name: &str) -> String {
        if self == Self::HOST { name.to_owned() } else { format!("{name}-{}", self.name()) }
    }

    /// The machine to boot.
    pub(crate) const fn board(self) -> &'static Board {
        match self {
            Self::X86 => &PC,
            Self::Arm => &VIRT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_this_machines_has_the_plain_name() {
        assert_eq!(Arch::HOST.beside("oomwatch"), "oomwatch");
        let others: Vec<Arch> =
            [Arch::X86, Arch::Arm].into_iter().filter(|arch| *arch != Arch::HOST).collect();
        assert_eq!(others.len(), 1);
        for arch in others {
            assert_eq!(arch.beside("oomwatch"), format!("oomwatch-{}", arch.name()));
        }
        assert_eq!(Arch::HOST.name(), std::env::consts::ARCH);
    }
}
