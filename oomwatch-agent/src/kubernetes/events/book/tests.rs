//! What is told, folded, told later, in a time that the tests make.

use super::*;

struct Rig {
    book: Book,
    counts: Arc<Counts>,
    now: Instant,
    number: u64,
}

impl Rig {
    fn new() -> Self {
        let (counts, now) = (Arc::new(Counts::default()), Instant::now());
        Self { book: Book::new(Arc::clone(&counts), now), counts, now, number: 0 }
    }

    fn kill(&mut self, pod: &str) {
        self.number += 1;
        let regarding = Regarding {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some("shop".to_owned()),
            name: pod.to_owned(),
            uid: None,
            field_path: None,
        };
        let notice = Notice {
            namespace: "shop".to_owned(),
            name: format!("{pod}.{}", self.number),
            regarding,
            note: String::new(),
            time: format!("t{}", self.number),
            instance: "node-a".to_owned(),
        };
        self.book.take(notice, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Every request that is due, all well: `+NAME`, `NAME xCOUNT`.
    fn tell(&mut self) -> Vec<String> {
        self.tell_with(|_| Ok(()))
    }

    fn tell_with(&mut self, answer: impl Fn(&Order) -> Result<(), Refused>) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(order) = self.book.next(self.now, false) {
            told.push(match &order {
                Order::Create(notice, None) => format!("+{}", notice.name),
                Order::Create(notice, Some(series)) => format!("+{} x{}", notice.name, series.count),
                Order::Fold(notice, series) => format!("{} x{}", notice.name, series.count),
            });
            let result = answer(&order);
            self.book.delivered(order, result, self.now);
        }
        told
    }

    fn counted(&self) -> String {
        self.counts.summary()
    }
}

#[test]
fn a_few_kills_have_an_event_each_and_a_storm_is_folded_into_the_last() {
    let mut rig = Rig::new();
    for _ in 0..1000 {
        rig.kill("api");
    }
    assert_eq!(rig.tell(), ["+api.1", "+api.2", "+api.3", "+api.4", "+api.5"]);
    assert_eq!(rig.book.due(rig.now), Some(rig.now + FOLD_EVERY));
    rig.pass(FOLD_EVERY);
    assert_eq!(rig.tell(), ["api.5 x996"]);
    assert_eq!((rig.counted().as_str(), rig.book.due(rig.now)), ("created 5, folded 995", None));
    rig.kill("api");
    assert_eq!(rig.tell(), [""; 0], "not each one");
    rig.pass(FOLD_EVERY);
    assert_eq!(rig.tell(), ["api.5 x997"]);
    // Later kills have their own again.
    rig.pass(OBJECT_EVERY * 2);
    rig.kill("api");
    assert_eq!(rig.tell(), ["+api.1002"]);
}

#[test]
fn many_pods_are_told_of_all_in_the_end_at_the_rate_of_all() {
    let mut rig = Rig::new();
    for pod in 0..100 {
        rig.kill(&format!("pod-{pod}"));
        rig.kill(&format!("pod-{pod}"));
    }
    assert_eq!(rig.tell().len(), usize::try_from(ALL_BURST).unwrap());
    let mut told = Vec::new();
    for _ in 0..200 {
        rig.pass(ALL_EVERY);
        told.extend(rig.tell());
        assert!(told.len() < 200);
    }
    // The first 15 pods had both of theirs; the other 85 have one Event for two kills.
    assert_eq!(told.len(), 85, "{told:?}");
    assert!(told.iter().all(|told| told.starts_with('+') && told.ends_with(" x2")), "{told:?}");
    assert_eq!(rig.counted(), "created 115, folded 85");
}

#[test]
fn an_event_that_is_gone_is_told_anew() {
    let mut rig = Rig::new();
    for _ in 0..8 {
        rig.kill("api");
    }
    rig.tell();
    rig.pass(FOLD_EVERY);
    let gone = |order: &Order| match order {
        Order::Create(..) => Ok(()),
        Order::Fold(..) => Err(Refused::Gone("404".to_owned())),
    };
    assert_eq!(rig.tell_with(gone), ["api.5 x4"]);
    rig.pass(OBJECT_EVERY);
    assert_eq!(rig.tell_with(gone), ["+api.5 x3"]);
    assert_eq!(rig.counted(), "created 6, folded 2");
}

#[test]
fn what_was_told_already_is_not_an_error() {
    let mut rig = Rig::new();
    rig.kill("api");
    rig.tell_with(|_| Err(Refused::AlreadyThere));
    assert_eq!(rig.counted(), "already_told 1");
}

#[test]
fn denied_means_quiet_for_a_while_and_then_once_more() {
    let mut rig = Rig::new();
    let deny = |_: &Order| Err(Refused::Denied("403".to_owned()));
    for _ in 0..8 {
        rig.kill("api");
    }
    assert_eq!(rig.tell_with(deny).len(), 1, "one request, then none");
    rig.kill("api");
    assert_eq!(rig.tell_with(deny), [""; 0]);
    assert!(rig.book.due(rig.now).unwrap() >= rig.now + QUIET_FOR);
    rig.pass(QUIET_FOR);
    // What had not been tried is tried once more, as one.
    assert_eq!(rig.tell_with(deny).len(), 1);
    rig.pass(QUIET_FOR);
    rig.kill("api");
    assert_eq!(rig.tell(), ["+api.10"]);
    assert_eq!(rig.counted(), "created 1, denied 9");
}

#[test]
fn what_fails_is_counted_and_the_next_begins_anew() {
    for (refused, counted) in [
        (Refused::Unreachable("down".to_owned()), "failed 1"),
        (Refused::Faulty("422".to_owned()), "rejected 1"),
        (Refused::Gone("404".to_owned()), "rejected 1"),
    ] {
        let mut rig = Rig::new();
        rig.kill("api");
        rig.tell_with(|_| Err(refused.clone()));
        assert_eq!(rig.counted(), counted);
        rig.kill("api");
        assert_eq!(rig.tell(), ["+api.2"]);
    }
}

#[test]
fn the_end_tells_what_is_left() {
    let mut rig = Rig::new();
    for _ in 0..7 {
        rig.kill("api");
    }
    rig.tell();
    let Some(Order::Fold(notice, series)) = rig.book.next(rig.now, true) else { panic!() };
    assert_eq!((notice.name.as_str(), series.count, series.last.as_str()), ("api.5", 3, "t7"));
}

#[test]
fn more_objects_than_any_node_has_are_dropped_and_counted() {
    let mut rig = Rig::new();
    for pod in 0..OBJECTS + 10 {
        rig.kill(&format!("pod-{pod}"));
    }
    assert_eq!(rig.counts.get(Outcome::Dropped), 10);
}
