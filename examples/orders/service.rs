//! The order book: a durable actor, and so a tower service.

use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
use serde::{Deserialize, Serialize};

/// All orders, the oldest first. They are the actor's state, so there is no other store.
///
/// The state is written whole with every change: right for a shop with some thousand orders. A
/// larger one has an actor for each customer.
#[derive(Debug, Default, DurableState)]
#[durable(actor_type = "order-book")]
pub(crate) struct OrderBook {
    orders: Vec<Order>,
}

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_id: u64,
    pub(crate) item: String,
    pub(crate) quantity: u32,
}

/// What the order book is asked.
#[derive(Debug, Serialize, Deserialize, DurableMessage)]
#[durable(name = "order-book.request")]
pub(crate) enum Request {
    Place { item: String, quantity: u32 },
    List,
}

/// What it answers: the order that was placed, or all orders.
pub(crate) type Orders = Vec<Order>;

/// Why it says no.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum Refusal {
    #[error("an order needs an item and a quantity of at least 1")]
    Empty,
}

#[async_trait]
impl DurableActor for OrderBook {
    type Message = Request;
    type Reply = Orders;
    type Error = Refusal;

    async fn handle(&mut self, _: &mut ActorContext, request: Request) -> Result<Orders, Refusal> {
        match request {
            Request::Place { item, quantity } if item.is_empty() || quantity == 0 => {
                Err(Refusal::Empty)
            }
            Request::Place { item, quantity } => {
                let order_id = self.orders.len() as u64 + 1;
                let order = Order { order_id, item, quantity };
                self.orders.push(order.clone());
                Ok(vec![order])
            }
            Request::List => Ok(self.orders.clone()),
        }
    }
}
