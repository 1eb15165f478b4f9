//! Random traffic between actors and workflows, in processes that are killed, on stores that are restored.

mod begin;
mod check;
mod copies;
mod desk;
mod events;
mod lanes;
mod lives;
mod program;
mod record;
mod trial;
mod work;

pub use begin::{Anew, Instance, Line, line_name};
pub use desk::{Deed, Desk, Effect, Entry, Note, Of, Raised, Receipt, Way, Word};
pub use program::{Gap, Life, Op, POINTS, Step, Store, Traffic};
pub use trial::run;
pub use work::Work;

/// The type of the actors.
pub const CLERK: &str = "clerk";
/// The queue of events.
pub const QUEUE: &str = "notes";
