//! What senders do, at random.

use rand::Rng;
use rand::rngs::StdRng;

use super::book::{Deed, Poison, Trap};
use super::program::{Op, Step};

/// What a program is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) actors: u32,
    /// Actors remember few keys. So only one is used again, that of a message in flight.
    pub(super) narrow: bool,
    /// States may be over the limit of some processes.
    pub(super) tight: bool,
}

/// So many steps.
pub(super) fn steps(random: &mut StdRng, plan: Plan, count: usize) -> Vec<Step> {
    let mut ops = Vec::new();
    while ops.len() < count {
        if plan.narrow && random.random_ratio(1, 8) {
            hold(random, plan, &mut ops);
        } else {
            let op = op(random, plan, ops.len() as u64 + 1);
            ops.push(op);
        }
    }
    (1..).zip(ops).map(|(number, op)| Step { number, op }).collect()
}

/// One of them takes the process with it.
pub(super) fn abort(random: &mut StdRng, actors: u32, steps: &mut [Step]) {
    let (step, actor) = (random.random_range(0..steps.len()), random.random_range(0..actors));
    let ask = random.random_ratio(1, 2);
    steps[step].op = (if ask { Op::Ask } else { Op::Tell })(actor, Deed::Abort);
}

fn op(random: &mut StdRng, plan: Plan, number: u64) -> Op {
    let actor = random.random_range(0..plan.actors);
    let earlier = (number > 1 && !plan.narrow)
        .then(|| random.random_range(number.saturating_sub(12).max(1)..number.max(2)));
    match (random.random_range(0..100), earlier) {
        (0..2, _) => Op::Checkpoint,
        (2..12, Some(earlier)) => Op::Again(earlier),
        (12..15, Some(earlier)) => Op::Other(earlier),
        (0..45, _) => Op::Tell(actor, deed(random, plan)),
        _ => Op::Ask(actor, deed(random, plan)),
    }
}

/// A message that is in flight while its key comes again, with the same message and with another.
fn hold(random: &mut StdRng, plan: Plan, ops: &mut Vec<Op>) {
    let actor = random.random_range(0..plan.actors);
    ops.push(Op::Ask(actor, Deed::Hold));
    let held = ops.len() as u64;
    for _ in 0..random.random_range(0..=4) {
        ops.push(Op::Tell(actor, deed(random, plan)));
    }
    ops.extend([Op::Again(held), Op::Other(held)]);
}

fn deed(random: &mut StdRng, plan: Plan) -> Deed {
    let other = random.random_range(0..plan.actors);
    match random.random_range(0..100) {
        0..12 => Deed::Slow,
        // Over the limit of the next process perhaps; and what it must not refuse.
        82..100 if plan.tight => Deed::Grow(match random.random_range(0..3) {
            0 => random.random_range(0..40_000),
            1 => random.random_range(20_000..40_000),
            _ => return Deed::Trim,
        }),
        12..17 => Deed::Grow(random.random_range(0..20_000)),
        20..42 => Deed::Send(other),
        42..46 => Deed::Flaky,
        46..52 => Deed::Poison(poison(random), other),
        52..62 => Deed::Float(float(random)),
        _ => Deed::Note,
    }
}

fn poison(random: &mut StdRng) -> Poison {
    let trap = [Trap::Large, Trap::Refused, Trap::Panics][random.random_range(0..3)];
    match random.random_range(0..8) {
        0 => Poison::Handler,
        1 => Poison::State(Trap::Snapshot),
        2..5 => Poison::State(trap),
        _ => Poison::Reply(trap),
    }
}

/// Any bits, with those more often that are hard to keep.
pub(super) fn float(random: &mut StdRng) -> u64 {
    let special = [-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX, 5e-324];
    match random.random_range(0..4) {
        0 => random.random(),
        // NaN of either sign, quiet or not, with something in it; its lower half as well.
        1 => random.random::<u64>() | 0x7ff0_0001_7f80_0001,
        2 => special[random.random_range(0..special.len())].to_bits(),
        _ => (f64::from(random.random_range(-1000..1000)) / 10.0).to_bits(),
    }
}
