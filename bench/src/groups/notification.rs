//! `notification`: a signal that nobody waits for, as every release of a pool makes one.

use crate::harness::{Case, Contender, Stopwatch};
use event_listener::{Event, IntoNotification};
use std::hint::black_box;
use strandline_core::Notification;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    std::iter::once(Case {
        group: "notification",
        name: "signal without observers".into(),
        unit: "signal",
        reference: 0,
        goals: Vec::new(),
        contenders: Box::new(contenders),
    })
}

fn contenders() -> Vec<Contender> {
    let (event, relaxed) = (Event::new(), Event::new());
    let notification = Notification::new(None);
    vec![
        timed("event-listener, notify(1)", move || {
            black_box(black_box(&event).notify(1));
        }),
        timed("event-listener, notify(1.relaxed())", move || {
            black_box(black_box(&relaxed).notify(1.relaxed()));
        }),
        timed("strandline, signal_if_observed", move || {
            black_box(&notification).signal_if_observed();
        }),
    ]
}

fn timed(name: &str, mut call: impl FnMut() + 'static) -> Contender {
    Contender::new(name, move |count| {
        let clock = Stopwatch::start();
        for _ in 0..count {
            call();
        }
        clock.elapsed()
    })
}
