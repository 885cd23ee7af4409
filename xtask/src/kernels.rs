//! The kernels that VMs boot and the machines that they are booted on: the lists in `tests/kernels.toml`, and each
//! kernel's files below `target/kernels/`.
//!
//! A kernel is downloaded once. After that the network is not asked, and the package that ran is on record beside it;
//! remove its folder to have a newer one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    apt_suite::{Package, Suite},
    arch::Arch,
    repo::Repo,
};

/// Stands for the architecture in a package's name.
const ARCH: &str = "{arch}";

/// A cgroup hierarchy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cgroup {
    V1,
    V2,
}

/// A machine of `tests/kernels.toml`; the fields are explained there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) cgroup: Cgroup,
    pub(crate) cpus: u32,
    #[serde(default = "one")]
    pub(crate) nodes: u32,
    #[serde(default)]
    pub(crate) swap: u32,
    #[serde(default)]
    pub(crate) cases: Vec<String>,
}

fn one() -> u32 {
    1
}

/// A kernel of `tests/kernels.toml`; the fields are explained there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    suite: String,
    #[serde(default = "yes")]
    updates: bool,
    package: String,
    quick: Vec<String>,
    machines: Vec<String>,
    #[serde(default)]
    arm64: Vec<String>,
}

fn yes() -> bool {
    true
}

/// A kernel whose files are here.
pub(crate) struct Kernel {
    /// For the user: the package and version that runs.
    pub(crate) label: String,
    pub(crate) arch: Arch,
    package: Package,
    /// What QEMU boots.
    pub(crate) image: PathBuf,
    /// The folder with `kernel/fs/…/*.ko`.
    pub(crate) modules: PathBuf,
}

/// `tests/kernels.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// In the file's order.
    pub(crate) kernels: Vec<Entry>,
    machines: Vec<Shape>,
}

impl List {
    /// The machine of that name.
    pub(crate) fn machine(&self, name: &str) -> Result<&Shape> {
        let names: Vec<&str> = self.machines.iter().map(|shape| shape.name.as_str()).collect();
        let found = self.machines.iter().find(|shape| shape.name == name);
        found.with_context(|| format!("no machine {name}: tests/kernels.toml has {}", names.join(", ")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    package: String,
    version: String,
}

/// Reads the lists.
pub(crate) fn list(repo: &Repo) -> Result<List> {
    let file = repo.root().join("tests/kernels.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot make sense of {}", file.display()))
}

/// The kernel of that name; without a name, the first quick one.
pub(crate) fn choose(repo: &Repo, name: Option<&str>) -> Result<Entry> {
    let list = list(repo)?.kernels;
    let names: Vec<&str> = list.iter().map(|entry| entry.name.as_str()).collect();
    let known = format!("tests/kernels.toml has {}", names.join(", "));
    let found = list.iter().find(|entry| name.map_or(!entry.quick.is_empty(), |name| entry.name == name));
    found.cloned().with_context(|| format!("no kernel {}: {known}", name.unwrap_or("is quick")))
}

impl Entry {
    /// The machines that it is tested on: the quick ones, or all.
    pub(crate) fn machines(&self, arch: Arch, all: bool) -> Vec<&str> {
        let machines: Vec<&String> = match arch {
            Arch::X86 => self.quick.iter().chain(self.machines.iter().filter(|_| all)).collect(),
            Arch::Arm => self.arm64.iter().filter(|name| all || self.quick.contains(name)).collect(),
        };
        machines.into_iter().map(String::as_str).collect()
    }

    /// Its files, downloaded if this is the first time.
    pub(crate) fn fetch(&self, repo: &Repo, arch: Arch) -> Result<Kernel> {
        let folder = repo.kernels().join(arch.beside(&self.name));
        if !folder.join("kernel.toml").is_file() {
            self.download(repo, arch, &folder)?;
        }
        let file = folder.join("kernel.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let record: Record =
            toml::from_str(&text).with_context(|| format!("cannot make sense of {}", file.display()))?;
        let modules = modules(&folder).with_context(|| format!("no modules below {}", folder.display()))?;
        let image =
            image(&folder, &modules).with_context(|| format!("no kernel below {}", folder.display()))?;
        let label = format!("{} {}", record.package, record.version);
        let package = Package { name: record.package, version: record.version };
        Ok(Kernel { label, arch, package, image, modules })
    }

    /// The headers of a kernel that was fetched, unpacked into a folder of their own; downloaded if this is the first
    /// time.
    pub(crate) fn fetch_headers(&self, repo: &Repo, kernel: &Kernel) -> Result<PathBuf> {
        let folder = repo.kernels().join(kernel.arch.beside(&self.name)).join("headers");
        if folder.is_dir() {
            return Ok(folder);
        }
        let partial = folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let suite = self.suite(repo, kernel.arch)?;
        for part in headers(&kernel.package)? {
            suite.unpack(&part, &partial, &repo.log(&format!("headers-{}", self.name)))?;
        }
        fs::rename(&partial, &folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    fn suite(&self, repo: &Repo, arch: Arch) -> Result<Suite> {
        let name = arch.beside(&self.name);
        let lists = repo.kernels().join(".suites").join(&name);
        Suite::fetch(&self.suite, self.updates, arch, &lists, &repo.log(&format!("suite-{name}")))
    }

    fn download(&self, repo: &Repo, arch: Arch, folder: &Path) -> Result<()> {
        let suite = self.suite(repo, arch)?;
        // An interrupted download leaves this folder, never one that looks complete.
        let partial = folder.with_extension("partial");
        for old in [folder, &partial].into_iter().filter(|old| old.exists()) {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let log = repo.log(&format!("kernel-{}", arch.beside(&self.name)));
        let package = suite.unpack_newest(&self.package.replace(ARCH, arch.debian()), &partial, &log)?;
        if let Some(modules) = modules_of(&package) {
            suite.unpack(&modules, &partial, &log)?;
        }
        let record = format!("package = \"{}\"\nversion = \"{}\"\n", package.name, package.version);
        fs::write(partial.join("kernel.toml"), record).context("cannot record the kernel's version")?;
        fs::rename(&partial, folder).with_context(|| format!("cannot create {}", folder.display()))
    }
}

/// The package of a kernel's modules, where they are not in the kernel's own: from Linux 6.19 on.
fn modules_of(kernel: &Package) -> Option<Package> {
    let release = kernel.name.strip_prefix("linux-binary-")?;
    Some(Package { name: format!("linux-modules-{release}"), version: kernel.version.clone() })
}

/// The packages that make up a kernel's headers: its own, and what it shares with others of its version.
fn headers(kernel: &Package) -> Result<Vec<Package>> {
    let release = ["linux-image-", "linux-binary-"].iter().find_map(|kind| kernel.name.strip_prefix(kind));
    let shared = release.and_then(|release| Some(release.rsplit_once("-cloud-")?.0));
    let (release, shared) = release.zip(shared).with_context(|| format!("whose headers? {}", kernel.name))?;
    let package = |name| Package { name, version: kernel.version.clone() };
    let names = [format!("linux-headers-{release}"), format!("linux-headers-{shared}-common")];
    Ok(names.map(package).into())
}

fn modules(folder: &Path) -> Result<PathBuf> {
    for place in ["usr/lib/modules", "lib/modules"] {
        if let Ok(entries) = fs::read_dir(folder.join(place)) {
            let releases = entries.flatten().map(|entry| entry.path());
            if let Some(release) = releases.into_iter().find(|path| path.join("kernel").is_dir()) {
                return Ok(release);
            }
        }
    }
    bail!("neither lib/modules nor usr/lib/modules has any")
}

/// In /boot up to Linux 7.1, beside the modules later.
fn image(folder: &Path, modules: &Path) -> Result<PathBuf> {
    let boot = fs::read_dir(folder.join("boot")).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_image = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")) && path.is_file()
    };
    boot.chain([modules.join("vmlinuz")]).find(is_image).context("there is no vmlinuz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_in_the_repository_is_well_formed() {
        let repo = Repo::find().unwrap();
        let list = list(&repo).unwrap();
        assert!(
            list.kernels.iter().any(|entry| !entry.quick.is_empty()),
            "no kernel is in the default test run"
        );
        for entry in &list.kernels {
            assert!(entry.package.contains(ARCH), "{} is of one architecture", entry.name);
            assert!(!entry.machines(Arch::X86, true).is_empty(), "{} is never tested", entry.name);
            for machines in [Arch::X86, Arch::Arm].map(|arch| entry.machines(arch, true)) {
                for (index, name) in machines.iter().enumerate() {
                    list.machine(name).unwrap();
                    assert!(!machines[..index].contains(name), "{} is booted on {name} twice", entry.name);
                }
            }
            let chosen = choose(&repo, Some(&entry.name)).unwrap();
            assert_eq!(
                (chosen.package, chosen.updates),
                (entry.package.clone(), entry.updates),
                "two of one name"
            );
        }
    }

    #[test]
    fn each_architecture_has_machines_of_its_own() {
        let text = r#"name = "x"
            suite = "sid"
            package = "linux-{arch}"
            quick = ["a"]
            machines = ["b"]
            arm64 = ["a", "c"]"#;
        let entry: Entry = toml::from_str(text).unwrap();
        for (arch, all, expected) in [
            (Arch::X86, false, &["a"][..]),
            (Arch::X86, true, &["a", "b"]),
            (Arch::Arm, false, &["a"]),
            (Arch::Arm, true, &["a", "c"]),
        ] {
            assert_eq!(entry.machines(arch, all), expected, "{arch:?}");
        }
    }

    #[test]
    fn an_unknown_kernel_is_answered_with_the_known_ones() {
        let error = choose(&Repo::find().unwrap(), Some("2.4")).unwrap_err().to_string();
        assert!(error.starts_with("no kernel 2.4: tests/kernels.toml has "), "{error}");
    }

    #[test]
    fn headers_are_of_the_same_version() {
        let kernel = Package { name: "linux-image-6.1.0-56-cloud-amd64".to_owned(), version: "1".to_owned() };
        let names: Vec<String> = headers(&kernel).unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["linux-headers-6.1.0-56-cloud-amd64", "linux-headers-6.1.0-56-common"]);
        let other = Package { name: "bash".to_owned(), version: "1".to_owned() };
        assert!(headers(&other).is_err());
    }

    #[test]
    fn newer_kernels_have_their_modules_apart() {
        let modules = |name: &str| {
            modules_of(&Package { name: name.to_owned(), version: "1".to_owned() })
                .map(|package| package.name)
        };
        assert_eq!(modules("linux-image-6.1.0-56-cloud-amd64"), None);
        assert_eq!(modules("linux-binary-7.2-cloud-amd64").as_deref(), Some("linux-modules-7.2-cloud-amd64"));
    }
}
