//! The cgroup hierarchies: which there are, and whether they are the host's.

use std::path::Path;

use super::{Line, Look};

/// What stands below `--cgroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// v2: `cgroup.controllers` in it or in `unified`.
    v2: Option<Root>,
    /// `memory` is among v2's controllers.
    v2_memory: bool,
    /// v1: the memory controller's hierarchy.
    v1: Option<Root>,
}

/// Of whom the root of a hierarchy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Host,
    Namespace,
}

/// Where the accounts of victims' cgroups are read, and of all who used the memory where the node runs out.
pub(super) fn cgroups(look: &Look<'_>) -> Vec<Line> {
    let dir = &look.options.node.cgroup;
    vec![judge(look_at(dir), &dir.display().to_string())]
}

fn look_at(dir: &Path) -> Seen {
    let v2_at =
        [dir.to_owned(), dir.join("unified")].into_iter().find(|at| at.join("cgroup.controllers").exists());
    let v2_memory = v2_at.as_ref().is_some_and(|at| {
        let controllers = std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
        controllers.split_ascii_whitespace().any(|controller| controller == "memory")
    });
    // Every cgroup but the root has cgroup.type (v2); only the root has release_agent (v1): kernel/cgroup/cgroup.c
    // and cgroup-v1.c, CFTYPE_NOT_ON_ROOT and CFTYPE_ONLY_ON_ROOT.
    let v2 = v2_at.map(|at| if at.join("cgroup.type").exists() { Root::Namespace } else { Root::Host });
    let memory = dir.join("memory");
    let v1 = memory
        .join("memory.stat")
        .exists()
        .then(|| if memory.join("release_agent").exists() { Root::Host } else { Root::Namespace });
    Seen { v2, v2_memory, v1 }
}

fn judge(seen: Seen, dir: &str) -> Line {
    let mount = "mount the host's /sys/fs/cgroup (hostPath, read-only) and name it by --cgroup";
    let (text, root) = match seen {
        Seen { v2: Some(root), v2_memory: true, .. } => (format!("v2 at {dir}"), root),
        Seen { v1: Some(root), v2: None, .. } => (format!("v1 at {dir}/memory"), root),
        Seen { v1: Some(root), v2: Some(_), .. } => {
            (format!("hybrid: memory is managed by v1, at {dir}/memory"), root)
        }
        Seen { v1: None, v2: Some(Root::Host), .. } => {
            return Line::degraded(
                "cgroups",
                format!("v2 at {dir} has no memory controller: no limits, no accounts"),
                "boot without cgroup_disable=memory, on Raspberry Pi with cgroup_enable=memory",
            );
        }
        Seen { v1: None, v2: Some(Root::Namespace), .. } => (format!("v2 at {dir}"), Root::Namespace),
        Seen { v1: None, v2: None, .. } => {
            return Line::degraded(
                "cgroups",
                format!("none at {dir}: reports have only what the probe reads of a cgroup"),
                mount,
            );
        }
    };
    match root {
        Root::Host => Line::ok("cgroups", format!("{text}, the host's")),
        Root::Namespace => Line::degraded(
            "cgroups",
            format!("{text}, but only from this container's own cgroup down: those of others cannot be read"),
            mount,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::State, *};

    fn of(files: &[(&str, &str)]) -> Line {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        judge(look_at(dir.path()), "DIR")
    }

    #[test]
    fn hierarchies_are_told_apart_and_so_are_roots() {
        for (files, state, text) in [
            (&[("cgroup.controllers", "cpu memory\n")][..], State::Ok, "v2 at DIR, the host's"),
            (
                &[("cgroup.controllers", "cpu memory\n"), ("cgroup.type", "domain\n")],
                State::Degraded,
                "v2 at DIR, but only from this container's own cgroup down: those of others cannot be read",
            ),
            (
                &[("memory/memory.stat", ""), ("memory/release_agent", "")],
                State::Ok,
                "v1 at DIR/memory, the host's",
            ),
            (
                &[("memory/memory.stat", "")],
                State::Degraded,
                "v1 at DIR/memory, but only from this container's own cgroup down: those of others cannot be read",
            ),
            (
                &[
                    ("memory/memory.stat", ""),
                    ("memory/release_agent", ""),
                    ("unified/cgroup.controllers", "\n"),
                ],
                State::Ok,
                "hybrid: memory is managed by v1, at DIR/memory, the host's",
            ),
            (
                &[("cgroup.controllers", "cpu memory_recursiveprot\n")],
                State::Degraded,
                "v2 at DIR has no memory controller: no limits, no accounts",
            ),
            (&[], State::Degraded, "none at DIR: reports have only what the probe reads of a cgroup"),
        ] {
            let line = of(files);
            assert_eq!((line.state, line.text.as_str()), (state, text), "{files:?}");
        }
    }
}
