//! What the actors have, compared with what was sent, answered and is to come of it.

use std::collections::{BTreeMap, HashMap};

use super::super::verdict::Verdict;
use super::desk::{Deed, Desk, Note, Of, Way};
use super::events::check_lines;
use super::record::{Record, Sent};

/// What the actors have, by number.
pub(super) type Desks = BTreeMap<u32, Desk>;

/// Where notes are: actor and place, in the order of the actors.
pub(super) struct Places(HashMap<(Way, Of), Vec<(u32, u64)>>);

impl Places {
    fn of(desks: &Desks) -> Self {
        let mut places: HashMap<_, Vec<_>> = HashMap::new();
        for (actor, desk) in desks {
            for (place, entry) in (1..).zip(&desk.log) {
                let key = (entry.note.way, entry.note.of);
                places.entry(key).or_default().push((*actor, place));
            }
        }
        Self(places)
    }

    pub(super) fn get(&self, way: Way, of: Of) -> &[(u32, u64)] {
        self.0.get(&(way, of)).map_or(&[], Vec::as_slice)
    }
}

/// Compares. What is not there yet is lost for now.
pub(super) fn compare(record: &Record, desks: &Desks) -> Verdict {
    let mut verdict = Verdict::default();
    let places = Places::of(desks);
    check_once(record, &places, &mut verdict);
    for sent in record.sent.values() {
        check_message(sent, &places, &mut verdict);
        if places.get(sent.note.way, sent.note.of).is_empty() {
            continue;
        }
        if let Deed::Work(asked, told) = sent.note.deed
            && record.is_certain(sent.note.of)
        {
            check_work(sent, (asked, told), desks, &places, &mut verdict);
        }
    }
    for (actor, desk) in desks {
        for wrong in desk.log.iter().filter(|entry| entry.note.way == Way::Wrong) {
            let (of, text) = (wrong.note.of, &wrong.text);
            verdict.unexplained(format!("a workflow of {of:?} was answered by {actor}: {text}"));
        }
        check_order(record, *actor, desk, &mut verdict);
        check_timers(*actor, desk, &places, &mut verdict);
        for to in desks.keys() {
            check_told(*actor, desk, *to, desks, &mut verdict);
        }
    }
    check_lines(record, desks, &places, &mut verdict);
    check_anew(record, &places, &mut verdict);
    verdict
}

/// Nothing is there twice, and nothing that was never sent.
fn check_once(record: &Record, places: &Places, verdict: &mut Verdict) {
    for ((way, of), at) in &places.0 {
        if at.len() > 1 && !record.may_repeat(*way, *of) {
            verdict.duplicated(format!("{way:?} of {of:?} is at {at:?}"));
        }
        match way {
            Way::Wrong | Way::Anew { .. } => {}
            _ if !record.ever.contains_key(of) => {
                verdict.unexplained(format!("{way:?} of {of:?} was never sent"));
            }
            Way::Outside(_) => {
                let sent = record.sent.get(&of.number);
                if sent.is_none_or(|sent| sent.note.of != *of || sent.to != at[0].0) {
                    verdict.unexplained(format!("{of:?} from outside is at {at:?}: {sent:?}"));
                }
            }
            _ => {}
        }
    }
}

/// What was acknowledged is there, where the answer said.
fn check_message(sent: &Sent, places: &Places, verdict: &mut Verdict) {
    let Sent { note: Note { of, way, .. }, acked, place, .. } = sent;
    verdict.acked += u64::from(*acked);
    match (places.get(*way, *of).first(), place) {
        (None, _) if *acked => verdict.lost(format!("{sent:?} has left nothing")),
        (Some((_, at)), Some(place)) if at != place => {
            verdict.unexplained(format!("{sent:?} is at {at}"));
        }
        _ => {}
    }
}

/// A workflow has asked and told once, and its result has come back and is the right one.
fn check_work(
    sent: &Sent,
    (asked, told): (u32, u32),
    desks: &Desks,
    places: &Places,
    verdict: &mut Verdict,
) {
    let of = sent.note.of;
    for (way, actor) in [(Way::Asked, asked), (Way::Told, told), (Way::Result, sent.to)] {
        match places.get(way, of) {
            [] => verdict.lost(format!("{way:?} of {sent:?} has not come")),
            [(at, _), ..] if *at != actor => {
                verdict.unexplained(format!("{way:?} of {sent:?} is at {at}"));
            }
            _ => {}
        }
    }
    if let ([(_, asked)], [(actor, place)]) =
        (places.get(Way::Asked, of), places.get(Way::Result, of))
        && let Some(entry) = desks.get(actor).and_then(|it| it.log.get(*place as usize - 1))
        && entry.text != asked.to_string()
    {
        let text = &entry.text;
        verdict.unexplained(format!("{sent:?}: the result is {text:?}, not {asked}"));
    }
}

/// The messages of a sender outside are in their order.
fn check_order(record: &Record, actor: u32, desk: &Desk, verdict: &mut Verdict) {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in &desk.log {
        let Note { of, way: Way::Outside(sender), .. } = entry.note else { continue };
        if record.sent.get(&of.number).is_none_or(|sent| sent.retried) {
            continue;
        }
        let last = last.entry(sender).or_default();
        if of.number < *last {
            verdict.reordered(format!("actor {actor} has {of:?} after {last}"));
        }
        *last = of.number;
    }
}

/// Each timer that was set has fired.
fn check_timers(actor: u32, desk: &Desk, places: &Places, verdict: &mut Verdict) {
    for entry in &desk.log {
        let Note { of, way, deed: Deed::Timer } = entry.note else { continue };
        if !matches!(places.get(Way::Timer, of), [(at, _)] if *at == actor) {
            verdict.lost(format!("the timer of {of:?}, {way:?}, at {actor} has not fired"));
        }
    }
}

/// What an actor has told another one arrives once and in order.
fn check_told(actor: u32, desk: &Desk, to: u32, desks: &Desks, verdict: &mut Verdict) {
    let told = desk.log.iter().filter(|it| it.note.deed == Deed::Tell(to)).map(|it| it.note.of);
    let log = desks.get(&to).into_iter().flat_map(|desk| &desk.log);
    let came = log.filter(|it| it.note.way == Way::Actor(actor)).map(|it| it.note.of);
    let (told, came): (Vec<_>, Vec<_>) = (told.collect(), came.collect());
    in_order(&format!("from actor {actor} to {to}"), &told, &came, verdict);
}

/// What is to come has come, in this order.
pub(super) fn in_order(what: &str, expected: &[Of], came: &[Of], verdict: &mut Verdict) {
    if expected == came {
        return;
    }
    let mut rest = expected.iter();
    if came.iter().all(|of| rest.any(|it| it == of)) {
        let missing: Vec<_> = expected.iter().filter(|of| !came.contains(of)).collect();
        verdict.lost(format!("{what}: {missing:?} has not come"));
    } else if came.iter().all(|of| expected.contains(of)) {
        verdict.reordered(format!("{what}: {came:?} came of {expected:?}"));
    } else {
        verdict.unexplained(format!("{what}: {came:?} came of {expected:?}"));
    }
}

/// The last life of an instance has asked everybody.
fn check_anew(record: &Record, places: &Places, verdict: &mut Verdict) {
    for anew in record.lasting() {
        for (part, asked) in (0..).zip(&anew.asked) {
            let way = Way::Anew { place: anew.place, life: anew.life, part };
            match places.get(way, anew.of) {
                [] => verdict.lost(format!("{way:?} of {:?} has not come to {asked}", anew.of)),
                [(at, _)] if at != asked => verdict.unexplained(format!("{way:?} is at {at}")),
                _ => {}
            }
        }
    }
}
