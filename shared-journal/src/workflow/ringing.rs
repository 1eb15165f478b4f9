//! The activity that tells an instance's lane that the instance has read its mail.

use duroxide::ActivityContext;
use fail::fail_point;

use super::successor::first;
use super::{Request, instance_address};
use crate::cluster::Cluster;
use crate::codec::{Codec, Payload};
use crate::id::{MessageId, MessageKey};
use crate::mailbox::error_text;

pub(super) async fn run(cluster: Cluster, ctx: ActivityContext) -> Result<String, String> {
    fail_point!("before-ring");
    let payload = Payload::encode(Codec::Json, &Request::Ring);
    let payload = payload.map_err(|error| error.to_string())?;
    let (to, key) =
        (instance_address(first(ctx.instance_id())), MessageKey::Transient(MessageId::random()));
    let rung = cluster.post_from_outside(&to, key, "ring", payload, None).await;
    fail_point!("after-ring");
    match rung {
        // The lane looks by itself, later.
        Err(error) if !error.is_retryable() => Err(error_text(&error)),
        rung => Ok(rung.map_or_else(|error| error_text(&error), |()| "rung".to_owned())),
    }
}
