//! Actix actors on the nodes of a cluster.

mod host;
mod parcel;
mod reference;

pub use host::{ActixHost, WrappedHost};
pub use reference::{ActorRef, ClusterActors};
