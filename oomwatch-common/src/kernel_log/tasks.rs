//! The table of tasks (`dump_tasks`, mm/oom_kill.c): its columns have changed six times, so they are told by name.

use super::text::leading;
use crate::{
    ids::{Comm, Tgid, Tid},
    proc_text::words,
    units::{Bytes, PageSize, Pages},
};

/// Rows kept of one table.
pub(super) const MOST_TASKS: usize = 8192;

/// A process that could have been killed. `None`: this kernel does not print it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRow {
    /// The thread that has the address space: the first one, or where that is gone another.
    pub tid: Option<Tid>,
    /// Process id.
    pub tgid: Option<Tgid>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Address space.
    pub total_vm: Option<Bytes>,
    /// Resident memory.
    pub rss: Option<Bytes>,
    /// Anonymous part of it (since 6.8).
    pub rss_anon: Option<Bytes>,
    /// File part of it.
    pub rss_file: Option<Bytes>,
    /// Shared part of it.
    pub rss_shmem: Option<Bytes>,
    /// Page tables.
    pub pgtables: Option<Bytes>,
    /// Swapped out.
    pub swap: Option<Bytes>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Name.
    pub comm: Option<Comm>,
}

/// The names between `[ pid ]` and `name`, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns(Vec<String>);

impl Columns {
    /// `[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name`
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let head = text.strip_prefix(b"[")?;
        if !head.trim_ascii_start().starts_with(b"pid") {
            return None;
        }
        let mut names: Vec<_> = words(head)
            .map(|word| std::str::from_utf8(word).map(str::to_owned))
            .collect::<Result<_, _>>()
            .ok()?;
        let is_head = names.len() > 4 && names.len() < 24 && names.first()? == "pid" && names.get(1)? == "]";
        let named = is_head && names.pop()? == "name";
        named.then(|| Self(names.split_off(2)))
    }

    /// `[     97]     0    97     8461     8279   102400        0             0 hog`
    pub(super) fn row(&self, text: &[u8], page_size: PageSize) -> Option<TaskRow> {
        let (tid, mut rest) = leading(text.strip_prefix(b"[")?.trim_ascii_start())?;
        rest = rest.strip_prefix(b"]")?;
        let mut row = TaskRow { tid: Some(Tid(tid)), ..TaskRow::default() };
        for column in &self.0 {
            let value = rest.trim_ascii_start();
            let end = value.iter().position(|&byte| byte == b' ')?;
            let (value, after) = value.split_at_checked(end)?;
            row.set(column, std::str::from_utf8(value).ok()?.parse().ok()?, page_size)?;
            rest = after;
        }
        row.comm = Some(Comm::new(rest.strip_prefix(b" ")?));
        Some(row)
    }
}

impl TaskRow {
    /// The table was read with pages of one size, and they are of another.
    pub(super) fn rescale(&mut self, from: PageSize, to: PageSize) {
        if from == to {
            return;
        }
        let sizes = [
            &mut self.total_vm,
            &mut self.rss,
            &mut self.rss_anon,
            &mut self.rss_file,
            &mut self.rss_shmem,
            &mut self.swap,
        ];
        for Bytes(size) in sizes.into_iter().flatten() {
            *size = to.bytes(Pages(*size / from.get().0)).0;
        }
    }

    fn set(&mut self, column: &str, value: i64, page_size: PageSize) -> Option<()> {
        if column == "oom_score_adj" {
            self.oom_score_adj = Some(value.try_into().ok()?);
            return Some(());
        }
        if matches!(column, "cpu" | "oom_adj") {
            return Some(());
        }
        let count = u64::try_from(value).ok()?;
        let pages = Some(page_size.bytes(Pages(count)));
        match column {
            "uid" => self.uid = Some(count.try_into().ok()?),
            "tgid" => self.tgid = Some(Tgid(count.try_into().ok()?)),
            "total_vm" => self.total_vm = pages,
            "rss" => self.rss = pages,
            "rss_anon" => self.rss_anon = pages,
            "rss_file" => self.rss_file = pages,
            "rss_shmem" => self.rss_shmem = pages,
            "swapents" => self.swap = pages,
            "pgtables_bytes" => self.pgtables = Some(Bytes(count)),
            "nr_ptes" | "nr_pmds" | "nr_puds" => {
                let upper = self.pgtables.unwrap_or_default();
                self.pgtables = pages.map(|pages| Bytes(upper.0.saturating_add(pages.0)));
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;
    use crate::{
        ids::{Tgid, Tid},
        units::{Bytes, PageSize},
    };

    /// Head, row, then process, RSS in pages, page tables in bytes, `oom_score_adj`, name.
    type Table<'a> = (&'a str, &'a str, u32, u64, Option<u64>, i16, &'a str);

    const TABLES: &[Table<'_>] = &[
        (
            "[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name",
            "[  512]     0   512     2769      145   0     -17         -1000 udevd",
            512,
            145,
            None,
            -1000,
            "udevd",
        ),
        (
            "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
            "[  512]     0   510     2769      145       9        7             0 a b",
            510,
            145,
            Some(9 * 4096),
            0,
            "a b",
        ),
        (
            "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name",
            "[  512]     0   512     2769      145       9       2        7           300  x",
            512,
            145,
            Some(11 * 4096),
            300,
            " x",
        ),
        (
            "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
            "[     97]     0    97     8461     8279   102400        0             0 hog",
            97,
            8279,
            Some(102_400),
            0,
            "hog",
        ),
        (
            "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj \
             name",
            "[    115]     0   115   158479   158336   158160        1       175  1306624        0             0 hog",
            115,
            158_336,
            Some(1_306_624),
            0,
            "hog",
        ),
        (
            "[  pid  ]   uid  tgid total_vm      rss some_new_one oom_score_adj name",
            "[    115]  4294967295   115   158479   158336  77           0 ",
            115,
            158_336,
            None,
            0,
            "",
        ),
    ];

    #[test]
    fn every_table_of_tasks_is_read_by_its_head() {
        for (head, line, tgid, rss, pgtables, adj, comm) in TABLES {
            let row = Columns::parse(head.as_bytes())
                .unwrap()
                .row(line.as_bytes(), PageSize::default())
                .expect(line);
            assert_eq!((row.tgid, row.rss), (Some(Tgid(*tgid)), Some(Bytes(rss * 4096))), "{line}");
            assert_eq!(
                (row.pgtables.map(|size| size.0), row.oom_score_adj),
                (*pgtables, Some(*adj)),
                "{line}"
            );
            assert_eq!(row.comm.unwrap().as_bytes(), comm.as_bytes(), "{line}");
        }
    }

    #[test]
    fn a_page_is_as_large_as_the_kernel_says() {
        let (head, line, ..) = TABLES[3];
        let row =
            Columns::parse(head.as_bytes()).unwrap().row(line.as_bytes(), PageSize::new(65536).unwrap());
        assert_eq!(row.unwrap().rss, Some(Bytes(8279 * 65536)));
    }

    #[test]
    fn what_is_no_table_is_none() {
        for head in
            ["", "[", "[ pid ] name", "[ 12.3] uid tgid total_vm rss name", "[ pid ] uid tgid total_vm rss"]
        {
            assert_eq!(Columns::parse(head.as_bytes()), None, "{head}");
        }
        let columns = Columns::parse(TABLES[3].0.as_bytes()).unwrap();
        for line in [
            "",
            "[97]",
            "[x] 0 97 1 2 3 4 5 a",
            "[97] 0 97 1 2 3 4",
            "[97] 0 -97 1 2 3 4 5 a",
            "[97 0 97 1 2 3",
        ] {
            assert_eq!(columns.row(line.as_bytes(), PageSize::default()), None, "{line}");
        }
        assert_eq!(columns.row(b"[97] 0 97 1 2 3 4 5 a", PageSize::default()).unwrap().tid, Some(Tid(97)));
    }
}
