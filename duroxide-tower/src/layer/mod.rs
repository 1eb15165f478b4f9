//! Makes a tower service durable in a stack: what it accepted is completed, even after a crash,
//! and a repeated key gets the recorded response.

mod lane;
#[expect(clippy::module_inception, reason = "the layer of the module `layer`, as in tower")]
mod layer;
mod service;

pub use self::layer::DurableLayer;
pub use self::service::Durable;
