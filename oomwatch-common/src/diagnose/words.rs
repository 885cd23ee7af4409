//! Words that several rules use: who somebody is, what something is made of, how a command is typed.

use crate::{
    render_text::{short_path, who},
    report::{Candidate, Composition, Consumer, Kubernetes, Report, size},
    units::Bytes,
};

/// Parts of less than this are not worth a word, percent.
const WORTH_A_WORD: u64 = 5;

/// `java (pid 4242, uid 1000)`
pub(super) fn victim(report: &Report) -> String {
    report.victims.first().map_or_else(|| "a process".to_owned(), who)
}

/// `postgres (pid 77)`, and in which container.
pub(super) fn candidate(candidate: &Candidate) -> String {
    let name = candidate.comm.as_deref().filter(|comm| !comm.is_empty()).unwrap_or("a process");
    let pid = candidate.tgid.map_or(String::new(), |tgid| format!(" (pid {tgid})"));
    let place = candidate.kubernetes.as_ref().and_then(container).or_else(|| {
        let path = candidate.cgroup.as_deref().filter(|path| *path != "/")?;
        Some(short_path(path))
    });
    format!("{name}{pid}{}", place.map_or(String::new(), |place| format!(" in {place}")))
}

/// `namespace/pod/container`, as far as it is known.
pub(super) fn container(kubernetes: &Kubernetes) -> Option<String> {
    let (namespace, pod) = (kubernetes.namespace.as_deref()?, kubernetes.pod.as_deref()?);
    let container = kubernetes.container.as_ref().map_or(String::new(), |container| format!("/{container}"));
    Some(format!("{namespace}/{pod}{container}"))
}

/// Whose a consumer is.
pub(super) fn consumer(consumer: &Consumer) -> String {
    let host = || consumer.host.as_ref().and_then(|host| host.name.clone());
    let names = consumer.kubernetes.as_ref().and_then(container).or_else(host);
    names.unwrap_or_else(|| short_path(&consumer.cgroup))
}

/// `57.4 MiB anonymous memory, 6.0 MiB shared memory and tmpfs`: the largest three that are worth a word.
pub(super) fn made_of(made: &Composition) -> Option<String> {
    let mut parts = [
        (made.anon, "anonymous memory"),
        (made.cache, "page cache"),
        (made.shmem, "shared memory and tmpfs"),
        (made.kernel, "kernel memory"),
        (made.sockets, "socket buffers"),
        (made.unexplained(), "not in memory.stat"),
    ];
    parts.sort_by_key(|(part, _)| std::cmp::Reverse(*part));
    let told: Vec<_> = parts
        .iter()
        .filter(|(part, _)| made.percent(*part) >= WORTH_A_WORD)
        .take(3)
        .map(|(part, name)| format!("{} {name}", size(*part)))
        .collect();
    (!told.is_empty()).then(|| list(&told))
}

/// `a, b and c`
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// First letter large.
pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

/// A size as Kubernetes and systemd write it: whole mebibytes, rounded up.
pub(super) fn quantity(Bytes(bytes): Bytes) -> String {
    let mib = bytes.div_ceil(1 << 20);
    if mib >= 1024 && mib.is_multiple_of(1024) { format!("{}Gi", mib / 1024) } else { format!("{mib}Mi") }
}

/// A word of a shell command: quoted unless it is plain.
pub(super) fn shell(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-._/=:".contains(character);
    let is_option = word.starts_with('-');
    if !word.is_empty() && !is_option && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Composition, list, made_of, quantity, shell};

    #[test]
    fn a_name_of_others_choosing_is_one_word_of_a_command() {
        for (word, quoted) in [
            ("web-76cd", "web-76cd"),
            ("deployment/web", "deployment/web"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's;", r"'it'\''s;'"),
            ("-n", "'-n'"),
            ("é", "'é'"),
        ] {
            assert_eq!(shell(word), quoted);
        }
    }

    #[test]
    fn quantities_are_never_below_what_they_stand_for() {
        for (bytes, text) in [(1, "1Mi"), (64 << 20, "64Mi"), ((64 << 20) + 1, "65Mi"), (2 << 30, "2Gi")] {
            assert_eq!(quantity(Bytes(bytes)), text);
        }
    }

    #[test]
    fn only_the_largest_parts_are_told() {
        let made = Composition {
            usage: Bytes(100 << 20),
            anon: Bytes(60 << 20),
            cache: Bytes(4 << 20),
            shmem: Bytes(20 << 20),
            kernel: Bytes(16 << 20),
            ..Composition::default()
        };
        let told = "60.0 MiB anonymous memory, 20.0 MiB shared memory and tmpfs and 16.0 MiB kernel memory";
        assert_eq!(made_of(&made).as_deref(), Some(told));
        assert_eq!(made_of(&Composition::default()), None);
        assert_eq!(list(&["a".to_owned(), "b".to_owned()]), "a and b");
    }
}
