//! What durability asks for. The aircraft itself knows nothing of it.

use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{DurableActixActor, DurableActor};
use serde::Serialize;

use crate::aircraft::{Aircraft, Flight, Totals};

/// An aircraft whose flights and totals outlive the process.
pub(crate) type DurableAircraft = DurableActixActor<Aircraft>;

impl DurableState for Aircraft {
    const ACTOR_TYPE: &'static str = "aircraft";
    type State = Totals;

    fn snapshot(&self) -> impl Serialize {
        &self.totals
    }

    fn restore(&mut self, totals: Totals) {
        self.totals = totals;
    }
}

impl DurableMessage for Flight {
    const NAME: &'static str = "aircraft.flight";
}

impl DurableActor for Aircraft {
    // The question for the totals is not here: it changes nothing, so it is not written.
    type Messages = (Flight,);
}
