//! The durable mailbox of one running actor: what both adapters have in common.
//!
//! An adapter feeds it with messages ([`Mailbox::accept`]), takes them one by one
//! ([`Mailbox::next`]), runs the user's handler, says how that ended, and ends the run. The
//! mailbox decides what is written and in which order, what is tried again and what is given up.
//!
//! # A run
//!
//! A run is what an actor handles between two visits to the journal. Its receipts, its replies
//! and, once, the state after it go into one commit together; so recovery finds all of a run or
//! nothing. The replies wait at the output gate until that commit is durable.
//!
//! A handler that is not done at once (it awaits something) is treated the other way round: its
//! receipt is written before it goes on, and so is the receipt of everything that waits behind
//! it. From then on such messages survive a crash and are handled again.
//!
//! # A failure
//!
//! A handler fails by panicking, or because its reply or the state after it cannot be stored. The
//! run goes back to the state before it. Nothing of it was released, so its messages are handled
//! again: those before the failed one first, then that one alone, in a run of its own. If it is not
//! known which message of a run left a state that cannot be stored, each is handled alone.
//! After [`Limits::attempts`](crate::Limits::attempts) a message becomes a dead letter.
//!
//! A handler may also take the process with it. So an attempt at a message whose receipt is durable
//! is counted in the journal: before the handler runs, if an earlier process received the message;
//! with the receipt, if the handler takes its time.

mod arrivals;
mod attempts;
mod by_hand;
mod closing;
mod delivery;
mod duplicates;
mod failure;
mod intake;
mod letters;
mod reopen;
mod room;
mod run;
mod state;
mod steps;
mod timers;
mod told;
mod waiting;

pub use self::delivery::{Acknowledge, Delivery, MESSAGE, REPLY, Resolution, Work};
pub use self::failure::{error_text, over_limit};
pub use self::intake::Mailbox;
pub use self::reopen::Reopening;
pub use self::run::{Ended, Sealed};
pub use self::steps::{StepError, Steps};
pub use crate::codec::fingerprint;
pub use crate::guard::{caught, made, panic_text};
