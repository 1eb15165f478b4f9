//! Makes a tower service durable in a stack: what it accepted is completed, even after a crash,
//! and a repeated key gets the recorded response. See [`DurableLayer`].

mod attendant;
mod backoff;
mod call;
mod door;
mod finality;
mod lane;
#[expect(clippy::module_inception, reason = "the layer of the module `layer`, as in tower")]
mod layer;
mod name;
mod request;
mod route;
mod service;
mod start;

pub use self::finality::{FinalWhen, Finality, Responses};
pub use self::layer::DurableLayer;
pub use self::service::Durable;
