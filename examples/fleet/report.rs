//! The totals of the fleet, as a table or as a line of JSON.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use duroxide_actix::journal::JournalStats;
use indicatif::HumanCount;
use serde::Serialize;

use crate::aircraft::Totals;
use crate::flights::UNASSIGNED;

/// How many aircraft the table shows.
const SHOWN: usize = 10;

/// The whole fleet. Its JSON has these keys in this order.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) flights: u64,
    /// Without those that have no tail number.
    pub(crate) aircraft: u64,
    pub(crate) cancelled: u64,
    pub(crate) air_minutes: u64,
    pub(crate) miles: u64,
    pub(crate) worst_arr_delay: Option<i32>,
    /// Flights that an earlier run had sent already.
    pub(crate) duplicates_ignored: u64,
    /// Actors that an earlier run left in the store.
    pub(crate) recovered_actors: u64,
    pub(crate) elapsed_s: f64,
}

/// What is printed at the end.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) summary: Summary,
    /// Those with the most miles, by tail number.
    most_miles: Vec<(String, Totals)>,
}

impl Report {
    pub(crate) fn new(
        mut totals: Vec<(String, Totals)>,
        stats: JournalStats,
        elapsed: Duration,
    ) -> Self {
        let mut summary = Summary {
            flights: 0,
            aircraft: 0,
            cancelled: 0,
            air_minutes: 0,
            miles: 0,
            worst_arr_delay: None,
            duplicates_ignored: stats.duplicates,
            recovered_actors: stats.recovered_actors,
            elapsed_s: (elapsed.as_secs_f64() * 1e3).round() / 1e3,
        };
        for (tail_number, aircraft) in &totals {
            summary.flights += aircraft.flights;
            summary.aircraft += u64::from(tail_number != UNASSIGNED);
            summary.cancelled += aircraft.cancelled;
            summary.air_minutes += aircraft.air_minutes;
            summary.miles += aircraft.miles;
            summary.worst_arr_delay = summary.worst_arr_delay.max(aircraft.worst_arr_delay);
        }

        totals.retain(|(tail_number, _)| tail_number != UNASSIGNED);
        // The tail number decides between equals, so that two runs print the same.
        totals.sort_unstable_by(|(a, x), (b, y)| (Reverse(x.miles), a).cmp(&(Reverse(y.miles), b)));
        totals.truncate(SHOWN);
        Self { summary, most_miles: totals }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            flights,
            aircraft,
            cancelled,
            air_minutes,
            miles,
            worst_arr_delay,
            duplicates_ignored,
            recovered_actors,
            elapsed_s,
        } = self.summary;

        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_header([
            "aircraft",
            "flights",
            "cancelled",
            "air minutes",
            "miles",
            "worst delay",
            "last airport",
        ]);
        for (tail_number, totals) in &self.most_miles {
            table.add_row([
                tail_number.clone(),
                count(totals.flights),
                count(totals.cancelled),
                count(totals.air_minutes),
                count(totals.miles),
                delay(totals.worst_arr_delay),
                totals.last_airport.clone().unwrap_or_default(),
            ]);
        }
        table.add_row([
            format!("all {}", count(aircraft)),
            count(flights),
            count(cancelled),
            count(air_minutes),
            count(miles),
            delay(worst_arr_delay),
            String::new(),
        ]);
        for column in table.column_iter_mut().skip(1).take(5) {
            column.set_cell_alignment(CellAlignment::Right);
        }

        writeln!(f, "{table}")?;
        write!(
            f,
            "{elapsed_s:.2} s, {} flights ignored as duplicates, {} actors recovered",
            count(duplicates_ignored),
            count(recovered_actors),
        )
    }
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

fn delay(minutes: Option<i32>) -> String {
    minutes.map_or_else(String::new, |minutes| minutes.to_string())
}
