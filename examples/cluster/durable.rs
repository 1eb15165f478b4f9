//! What durability and a cluster ask for. The aircraft is that of `fleet`.

use duroxide_actix::DurableActor;
use duroxide_actix::journal::{DurableMessage, DurableState};
use serde::Serialize;

use crate::aircraft::{Aircraft, Flight, GetTotals, Totals};

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

impl DurableMessage for GetTotals {
    const NAME: &'static str = "aircraft.totals";
}

impl DurableActor for Aircraft {
    // The question as well: whoever asks may be on another node.
    type Messages = (Flight, GetTotals);
}
