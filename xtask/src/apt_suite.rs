//! Packages of any Debian suite, whatever release this machine runs: apt with sources, lists and caches of its own
//! below `target/`. The machine's own apt is only read; apt checks signatures and hashes as always.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{arch::Arch, needs::KEYRING, run, say};

const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

/// A suite whose package lists have been fetched.
pub(crate) struct Suite {
    name: String,
    arch: Arch,
    folder: PathBuf,
}

/// A package at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Suite {
    /// Fetches the package lists of `name` for `arch` into `folder`; without `updates`, only what the suite was
    /// released with.
    pub(crate) fn fetch(name: &str, updates: bool, arch: Arch, folder: &Path, log: &Path) -> Result<Self> {
        let suite = Self { name: name.to_owned(), arch, folder: folder.to_owned() };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("cannot create {part}"))?;
        }
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let lines = sources(&machine_sources(), codename(&os_release), name, updates).join("\n") + "\n";
        fs::write(folder.join("sources.list"), lines).context("cannot write sources.list")?;
        fs::write(folder.join("status"), "").context("cannot write the empty package status")?;
        let what = format!("reading the package lists of Debian {name}");
        let mut update = suite.apt("apt-get");
        update.arg("update");
        if let Err(error) = run::run_logged(&what, log, &mut update) {
            // One of several archives may be gone, as the updates of old suites are; what is left is looked at.
            say::progress(&format!("    going on with what was read ({error:#})"));
        }
        Ok(suite)
    }

    /// Downloads the newest package whose name matches `pattern`, in which `*` stands for text that begins with a
    /// digit, and unpacks it below `into`. The lists of old suites go on naming what is gone from the archive: such
    /// packages are passed over.
    pub(crate) fn unpack_newest(&self, pattern: &str, into: &Path, log: &Path) -> Result<Package> {
        let packages = self.newest_first(pattern)?;
        for package in &packages {
            match self.unpack(package, into, log) {
                Ok(()) => return Ok(package.clone()),
                Err(_) => say::progress("    it is gone; looking for an older one"),
            }
        }
        bail!("Debian {} lists {pattern}, and gives none of {} versions", self.name, packages.len())
    }

    /// The packages whose names match, each at each of its versions.
    fn newest_first(&self, pattern: &str) -> Result<Vec<Package>> {
        let prefix = pattern.split('*').next().unwrap_or_default();
        let names = run::read(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        let names: Vec<&str> = names.lines().filter(|name| matches(name, pattern)).collect();
        if names.is_empty() {
            bail!(
                "Debian {} has no package {pattern} for {}: check the network, or the line in tests/kernels.toml",
                self.name,
                self.arch.debian()
            );
        }
        let table = run::read(self.apt("apt-cache").arg("madison").args(&names))?;
        let mut packages: Vec<Package> = Vec::new();
        for package in table.lines().filter_map(madison_line) {
            // Some packages are in several archives.
            if !packages.contains(&package) {
                let place = packages.iter().position(|other| newer(&package.version, &other.version));
                packages.insert(place.unwrap_or(packages.len()), package);
            }
        }
        Ok(packages)
    }

    /// Downloads a package and unpacks it below `into`.
    pub(crate) fn unpack(&self, package: &Package, into: &Path, log: &Path) -> Result<()> {
        let debs = self.folder.join("debs");
        if debs.exists() {
            fs::remove_dir_all(&debs).with_context(|| format!("cannot empty {}", debs.display()))?;
        }
        fs::create_dir_all(&debs).with_context(|| format!("cannot create {}", debs.display()))?;
        run::run_logged(
            &format!("downloading {} {}", package.name, package.version),
            log,
            self.apt("apt-get")
                .arg("download")
                .arg(format!("{}={}", package.name, package.version))
                .current_dir(&debs),
        )?;
        for deb in fs::read_dir(&debs).with_context(|| format!("cannot read {}", debs.display()))? {
            let deb = deb.context("cannot list the downloaded packages")?.path();
            run::run(Command::new("dpkg").arg("-x").arg(&deb).arg(into))?;
        }
        fs::remove_dir_all(&debs).with_context(|| format!("cannot remove {}", debs.display()))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let file = |name: &str| self.folder.join(name).display().to_string();
        let options = [
            ("APT::Architecture", self.arch.debian().to_owned()),
            // Else those that this machine's dpkg knows of would be looked for too.
            ("APT::Architectures::", self.arch.debian().to_owned()),
            ("Dir::Etc::sourcelist", file("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State::lists", file("lists")),
            ("Dir::State::status", file("status")),
            ("Dir::Cache", file("cache")),
            ("Acquire::Languages", "none".into()),
            ("Acquire::Retries", "3".into()),
            // The user that apt downloads as cannot enter a checkout below /root.
            ("APT::Sandbox::User", "root".into()),
        ];
        for (name, value) in options {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        command
    }
}

/// The apt sources of `suite`, made from those of this machine so that its mirror is used. Where this machine has none
/// of Debian's, the project's own servers.
fn sources(texts: &[String], codename: &str, suite: &str, updates: bool) -> Vec<String> {
    // Unstable suites have no archive of security updates.
    let alone = !updates || ["sid", "experimental"].contains(&suite);
    let mut lines: Vec<String> = Vec::new();
    for (address, theirs) in texts.iter().flat_map(|text| archives(text)) {
        let Some(kind) = theirs.strip_prefix(codename).filter(|_| !codename.is_empty()) else { continue };
        let wanted = if alone { kind.is_empty() } else { ["", "-updates", "-security"].contains(&kind) };
        if wanted {
            lines.push(source_line(&address, &format!("{suite}{kind}")));
        }
    }
    if lines.is_empty() {
        lines.push(source_line(ARCHIVE, suite));
        if !alone {
            lines.push(source_line(SECURITY, &format!("{suite}-security")));
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

fn source_line(address: &str, suite: &str) -> String {
    // Old suites and snapshots are no longer signed anew, which apt would take for a replayed list.
    format!("deb [signed-by={KEYRING} check-valid-until=no] {address} {suite} main")
}

/// The (address, suite) pairs that one file of apt sources names, in either of apt's two formats.
fn archives(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("deb ")) {
        let line = match line.trim_start().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => line,
        };
        let mut words = line.split_whitespace();
        if let (Some(address), Some(suite)) = (words.next(), words.next()) {
            pairs.push((address.to_owned(), suite.to_owned()));
        }
    }
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let is_it =
                |line: &&str| line.split(':').next().is_some_and(|key| key.eq_ignore_ascii_case(name));
            stanza
                .lines()
                .find(is_it)
                .and_then(|line| line.split_once(':'))
                .map_or("", |(_, value)| value.trim())
        };
        if field("Types").split_whitespace().any(|kind| kind == "deb") && field("Enabled") != "no" {
            for address in field("URIs").split_whitespace() {
                for suite in field("Suites").split_whitespace() {
                    pairs.push((address.to_owned(), suite.to_owned()));
                }
            }
        }
    }
    pairs
}

fn machine_sources() -> Vec<String> {
    let parts =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let files = parts.filter(|path| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    });
    files
        .chain([PathBuf::from("/etc/apt/sources.list")])
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

/// Debian's name for this release; empty on another distribution, whose suites are not Debian's.
fn codename(os_release: &str) -> &str {
    let field = |name: &str| os_release.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    if field("ID=") == "debian" { field("VERSION_CODENAME=") } else { "" }
}

fn matches(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            let between = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            between.is_some_and(|text| text.starts_with(|first: char| first.is_ascii_digit()))
        }
        None => name == pattern,
    }
}

/// `linux-image-x | 6.1.192-2 | http://… Packages`
fn madison_line(line: &str) -> Option<Package> {
    let mut columns = line.split('|').map(str::trim);
    Some(Package { name: columns.next()?.to_owned(), version: columns.next()?.to_owned() })
}

fn newer(left: &str, right: &str) -> bool {
    run::run(Command::new("dpkg").args(["--compare-versions", left, "gt", right])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb deb-src
# a snapshot
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
";
    const ONE_LINE: &str = "\
# deb http://off.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib
deb http://mirror.example/debian-security bookworm-security main
deb https://tools.example/apt tools-bookworm main
";

    fn check(text: &str, codename: &str, suite: &str, updates: bool, expected: &[&str]) {
        let lines = sources(&[text.to_owned()], codename, suite, updates);
        let short: Vec<&str> = lines
            .iter()
            .map(|line| line.split_once("] ").unwrap().1.strip_suffix(" main").unwrap())
            .collect();
        assert_eq!(short, expected, "{codename} to {suite}");
    }

    #[test]
    fn the_machines_mirror_serves_the_other_suite() {
        let trixie = [
            "http://mirror.example/debian trixie",
            "http://mirror.example/debian trixie-updates",
            "http://mirror.example/debian-security trixie-security",
        ];
        check(DEB822, "bookworm", "trixie", true, &trixie);
        check(DEB822, "bookworm", "sid", true, &["http://mirror.example/debian sid"]);
        check(ONE_LINE, "bookworm", "trixie", true, &[trixie[0], trixie[2]]);
        check(DEB822, "bookworm", "trixie", false, &trixie[..1]);
    }

    #[test]
    fn another_distribution_gets_debians_own_servers() {
        let own = [
            "http://deb.debian.org/debian bookworm",
            "http://deb.debian.org/debian-security bookworm-security",
        ];
        check("deb http://ubuntu.example/ubuntu noble main\n", "", "bookworm", true, &own);
        check("", "", "bookworm", false, &own[..1]);
    }

    #[test]
    fn the_codename_counts_on_debian_only() {
        assert_eq!(codename("NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n"), "bookworm");
        assert_eq!(codename("VERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n"), "");
    }

    #[test]
    fn a_pattern_takes_kernels_and_not_what_is_named_like_them() {
        let binary = "linux-binary-*-cloud-amd64";
        assert!(matches("linux-binary-7.2.13+deb14-cloud-amd64", binary));
        assert!(!matches("linux-binary-unsigned-7.2.13+deb14-cloud-amd64", binary));
        let table = [
            ("linux-image-6.1.0-56-cloud-amd64", true),
            ("linux-image-6.1.0-56-cloud-amd64-dbg", false),
            ("linux-image-6.1.0-56-amd64", false),
            ("linux-image-6.1.0-cloud-amd64", false),
        ];
        for (name, expected) in table {
            assert_eq!(matches(name, "linux-image-6.1.0-*-cloud-amd64"), expected, "{name}");
        }
    }
}
