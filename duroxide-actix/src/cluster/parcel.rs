//! A message that came encoded and whose reply goes encoded.

use std::task::{self, Poll};

use actix::Actor;
use shared_journal::cluster::{Answering, Delivered, Parcel};
use shared_journal::mailbox::Resolution;
use shared_journal::mailbox::error_text;
use shared_journal::{Codec, CodecError, Outcome, Payload};

use crate::driver::Offer;
use crate::error::AskError;
use crate::job::{BoxJob, Job, ReplyError};
use crate::message::Table;

/// The offer of a parcel to its actor. `None` if the actor cannot handle it, which was answered.
pub(super) fn offer<A: Actor>(table: &Table<A>, parcel: Parcel) -> Option<Offer<A>> {
    let Parcel { key, kind, payload, acknowledge, answer } = parcel;
    let Some(mut job) = table.job(&kind) else {
        let actor = std::any::type_name::<A>();
        let reason = format!("{actor} does not know messages of type {kind:?}");
        answer.answer(Delivered::Refused(reason.into()));
        return None;
    };
    if let Err(error) = job.decode(&payload) {
        let reason = format!("the message does not decode: {error}");
        answer.answer(Delivered::Refused(reason.into()));
        return None;
    }
    let job = Box::new(ParcelJob { job, payload, reply: None, answer: Some(answer) });
    Some(Offer { job, key, acknowledge })
}

struct ParcelJob<A: Actor> {
    job: BoxJob<A>,
    payload: Payload<'static>,
    reply: Option<Payload<'static>>,
    answer: Option<Answering>,
}

impl<A: Actor> ParcelJob<A> {
    fn say(&mut self, delivered: Delivered) {
        if let Some(answer) = self.answer.take() {
            answer.answer(delivered);
        }
    }
}

impl<A: Actor> Job<A> for ParcelJob<A> {
    fn name(&self) -> &'static str {
        self.job.name()
    }

    fn encode(&self, _: Codec) -> Result<Payload<'static>, CodecError> {
        Ok(self.payload.clone())
    }

    fn verify(&mut self, payload: &Payload<'_>) -> Result<(), CodecError> {
        // Not as it came: a sender of an earlier version has written other fields.
        let own = self.job.encode(payload.codec())?;
        self.job.verify(&own)
    }

    fn verify_reply(&mut self, payload: &Payload<'_>) -> Result<(), CodecError> {
        self.job.verify_reply(payload)
    }

    fn fingerprint(&self) -> Option<u64> {
        self.job.fingerprint()
    }

    fn decode(&mut self, payload: &Payload<'_>) -> Result<(), CodecError> {
        self.job.decode(payload)
    }

    fn start(&mut self, act: &mut A, ctx: &mut A::Context) {
        self.job.start(act, ctx);
    }

    fn poll(
        &mut self,
        codec: Codec,
        cx: Option<&mut task::Context<'_>>,
    ) -> Poll<Result<Payload<'static>, ReplyError>> {
        let polled = self.job.poll(codec, cx);
        if let Poll::Ready(Ok(reply)) = &polled {
            self.reply = Some(reply.clone());
        }
        polled
    }

    fn accepted(&mut self) {
        self.job.accepted();
    }

    fn refuse(mut self: Box<Self>, error: AskError) {
        self.say(match error {
            AskError::IdReused { .. } => Delivered::IdReused,
            error => Delivered::Refused(error_text(&error).into()),
        });
    }

    fn resolve(mut self: Box<Self>, resolution: Resolution) {
        let delivered = match (&resolution, self.reply.take()) {
            (Resolution::Processed, Some(reply)) => Delivered::Processed(reply),
            (Resolution::Recorded(outcome), _) => match outcome.clone() {
                Outcome::Processed(reply) => Delivered::Processed(reply),
                Outcome::Failed { attempts, error } => {
                    Delivered::Failed { attempts, error: error.into() }
                }
                _ => Delivered::AlreadyProcessed,
            },
            (Resolution::IdReused, _) => Delivered::IdReused,
            (Resolution::Refused(error), _) => Delivered::Refused(error_text(error).into()),
            (Resolution::Failed { attempts, error }, _) => {
                Delivered::Failed { attempts: *attempts, error: error.clone() }
            }
            (Resolution::Unknown(error), _) => Delivered::Lost(Some(error.clone())),
            _ => Delivered::Lost(None),
        };
        self.say(delivered);
    }
}
