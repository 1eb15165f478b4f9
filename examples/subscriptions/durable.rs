//! What durability asks for.

use duroxide_actix::DurableActor;
use duroxide_actix::journal::{DurableMessage, DurableState};
use serde::Serialize;

use crate::customer::{Card, Customer, MonthBegins, Remind, Renewed, Show, Subscribe};

impl DurableState for Customer {
    const ACTOR_TYPE: &'static str = "customer";
    type State = Self;

    fn snapshot(&self) -> impl Serialize {
        self
    }

    fn restore(&mut self, customer: Self) {
        *self = customer;
    }
}

impl DurableActor for Customer {
    type Messages = (Subscribe, MonthBegins, Renewed, Remind, Card, Show);
}

macro_rules! names {
    ($($message:ident = $name:literal),*) => {
        $(impl DurableMessage for $message {
            const NAME: &'static str = $name;
        })*
    };
}

names!(
    Subscribe = "customer.subscribe",
    MonthBegins = "customer.month",
    Renewed = "customer.renewed",
    Remind = "customer.remind",
    Card = "customer.card",
    Show = "customer.show"
);
