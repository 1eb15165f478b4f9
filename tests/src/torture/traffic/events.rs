//! What lines have told of the events that actors raised.

use std::collections::BTreeSet;

use super::super::verdict::Verdict;
use super::begin::line_name;
use super::check::{Desks, Places, in_order};
use super::desk::{Deed, Note, Of, Way};
use super::record::Record;

/// The events that are to be read for sure were read once, by whichever life of their line, in the order in which each
/// actor raised them. All are told to the actor with the number of the line, and those of one life in order.
pub(super) fn check_lines(record: &Record, desks: &Desks, places: &Places, verdict: &mut Verdict) {
    let lines: BTreeSet<u32> = desks
        .values()
        .flat_map(|desk| &desk.log)
        .filter_map(|entry| match entry.note.deed {
            Deed::Raise(line) => Some(line),
            _ => None,
        })
        .collect();
    for line in lines {
        for actor in desks.keys() {
            check_line(record, desks, line, *actor, verdict);
        }
    }
    for (actor, desk) in desks {
        for Note { of, way, .. } in desk.log.iter().map(|entry| &entry.note) {
            let Way::Event { line, from, .. } = way else { continue };
            // Actors are taken back with the journal, and lines are not.
            let raised = record.sent.get(&of.number).filter(|sent| sent.note.of == *of);
            let is_raised = raised.is_some_and(|sent| {
                sent.to == *from
                    && sent.note.deed == Deed::Raise(*line)
                    && !places.get(sent.note.way, *of).is_empty()
            });
            if line != actor || (record.is_certain(*of) && !is_raised) {
                verdict.unexplained(format!("{way:?} of {of:?} is at {actor}: {raised:?}"));
            }
        }
    }
}

fn check_line(record: &Record, desks: &Desks, line: u32, actor: u32, verdict: &mut Verdict) {
    let name = line_name(line);
    let is_sure = |of: Of| {
        let sent = record.sent.get(&of.number).filter(|sent| sent.note.of == of);
        sent.is_some_and(|sent| record.is_raised_for_sure(sent, &name))
    };
    let log = |actor: u32| desks.get(&actor).into_iter().flat_map(|desk| &desk.log);
    let raised = log(actor).filter(|it| it.note.deed == Deed::Raise(line)).map(|it| it.note.of);
    let came = log(line).filter(|it| {
        matches!(it.note.way, Way::Event { line: by, from, .. } if by == line && from == actor)
    });
    let raised: Vec<_> = raised.filter(|of| is_sure(*of)).collect();
    let came: Vec<_> = came.map(|it| it.note.of).filter(|of| is_sure(*of)).collect();
    in_order(&format!("events of actor {actor} in {name}"), &raised, &came, verdict);
}
