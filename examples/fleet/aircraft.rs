//! An aircraft, as a plain Actix actor.

use actix::prelude::*;
use serde::{Deserialize, Serialize};

/// Flights that may wait for an aircraft.
pub(crate) const MAILBOX_CAPACITY: usize = 256;

/// One aircraft, and what it has done so far.
#[derive(Debug, Default)]
pub(crate) struct Aircraft {
    pub(crate) totals: Totals,
}

/// What an aircraft has done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, MessageResponse)]
pub(crate) struct Totals {
    pub(crate) flights: u64,
    pub(crate) cancelled: u64,
    /// In the air, on flights that departed.
    pub(crate) air_minutes: u64,
    /// Of flights that departed.
    pub(crate) miles: u64,
    /// In minutes; negative if it always came early.
    pub(crate) worst_arr_delay: Option<i32>,
    /// Where it was going when it last departed.
    pub(crate) last_airport: Option<String>,
}

impl Actor for Aircraft {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// A flight that was planned for this aircraft. The answer is how many it has had.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(crate) struct Flight {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) carrier: String,
    pub(crate) number: u32,
    pub(crate) origin: String,
    pub(crate) dest: String,
    /// Local time, 517 is 5:17. None: it was cancelled.
    pub(crate) dep_time: Option<u16>,
    /// In minutes; negative if it came early.
    pub(crate) arr_delay: Option<i32>,
    /// In minutes.
    pub(crate) air_time: Option<u32>,
    /// In miles.
    pub(crate) distance: Option<u32>,
}

impl Handler<Flight> for Aircraft {
    type Result = u64;

    fn handle(&mut self, flight: Flight, _: &mut Self::Context) -> u64 {
        let totals = &mut self.totals;
        totals.flights += 1;
        if flight.dep_time.is_some() {
            totals.air_minutes += u64::from(flight.air_time.unwrap_or(0));
            totals.miles += u64::from(flight.distance.unwrap_or(0));
            totals.worst_arr_delay = totals.worst_arr_delay.max(flight.arr_delay);
            totals.last_airport = Some(flight.dest);
        } else {
            totals.cancelled += 1;
        }
        totals.flights
    }
}

/// Asks an aircraft for its totals.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Totals")]
pub(crate) struct GetTotals;

impl Handler<GetTotals> for Aircraft {
    type Result = Totals;

    fn handle(&mut self, _: GetTotals, _: &mut Self::Context) -> Totals {
        self.totals.clone()
    }
}
